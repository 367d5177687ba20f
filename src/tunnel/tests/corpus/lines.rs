//! What is on its way between two ends.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use warren_tunnel::{frame::Decoder, machine::TunnelKey};

use crate::ends::{BATCH, End};

/// What waits on a line before its sender has to wait, too.
const IN_FLIGHT_MAX: usize = 256 * 1024;

/// One tunnel: what is on its way to its gateway, and to its agent.
pub(crate) struct Line {
    pub(crate) gateway: Inlet,
    pub(crate) agent: Inlet,
}

/// Where the bytes of one direction arrive.
pub(crate) struct Inlet {
    pub(crate) key: TunnelKey,
    decoder: Decoder,
    pieces: VecDeque<Bytes>,
    in_flight: usize,
    /// What is sent from here on does not arrive.
    pub(crate) broken: bool,
}

impl Inlet {
    pub(crate) fn new(key: TunnelKey) -> Self {
        Self { key, decoder: Decoder::new(), pieces: VecDeque::new(), in_flight: 0, broken: false }
    }

    /// Neither what is on its way arrives, nor what is sent from here on.
    pub(crate) fn break_off(&mut self) {
        self.pieces.clear();
        (self.in_flight, self.broken) = (0, true);
    }

    /// Takes what the tunnel at the other end has to say, and gives the first `max` bytes of what is on its way to `to`;
    /// false when nothing moved. Neither end may find fault with the other.
    pub(crate) fn carry(
        &mut self,
        from: &mut End,
        from_key: TunnelKey,
        to: &mut End,
        max: usize,
        now: Instant,
    ) -> bool {
        let mut moved = false;
        if self.in_flight < IN_FLIGHT_MAX {
            let mut batch = Vec::new();
            let count = from.bundle.poll_transmit(from_key, now, BATCH, &mut batch);
            assert_eq!(count, batch.iter().map(Bytes::len).sum::<usize>());
            moved |= count > 0;
            if !self.broken {
                self.in_flight += count;
                self.pieces.extend(batch);
            }
        }
        let mut left = max;
        while left > 0
            && let Some(front) = self.pieces.front_mut()
        {
            let piece = front.split_to(front.len().min(left));
            if front.is_empty() {
                self.pieces.pop_front();
            }
            left -= piece.len();
            self.in_flight -= piece.len();
            moved = true;
            self.decoder.push(piece);
            while let Some(frame) = self.decoder.next_frame().expect("the peer's bytes are frames") {
                to.bundle.handle_frame(self.key, frame, now).expect("the peer keeps to the protocol");
            }
        }
        moved
    }
}
