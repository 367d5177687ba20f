//! What the applications at both ends of a session did and saw.

use std::{sync::LazyLock, time::Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::net::{AGENT, GATEWAY};

/// One session.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: u64,
    pub(super) opened_at: Instant,
    /// By side.
    pub(super) grips: [Grip; 2],
    /// How often the agent's application was asked.
    pub(super) offered: u32,
    /// When the agent's application answered, and with yes or no.
    pub(super) answered: Option<(Instant, bool)>,
    /// The gateway heard yes.
    pub(super) opened: bool,
    /// The gateway was told that the agent never heard of it.
    pub(super) unheard: bool,
    /// The gateway was told that it is lost with nothing said.
    pub(super) unsaid: bool,
}

/// What one application holds of a session.
#[derive(Debug, Default)]
pub(super) struct Grip {
    /// It may use the session.
    pub(super) held: bool,
    /// It has cut the session, or let go of it before its end.
    pub(super) cut: bool,
    /// It was told that the session is over before its end.
    pub(super) lost: bool,
    /// Found nothing to read, or no room to write, and waits to be called.
    pub(super) read_waits: bool,
    pub(super) write_waits: bool,
    pub(super) written: u64,
    pub(super) finished: bool,
    pub(super) read: u64,
    pub(super) end_seen: bool,
    /// Reads nothing before.
    pub(super) pauses_until: Option<Instant>,
}

impl Grip {
    /// Its own direction is ended, and the other's end was seen.
    pub(super) fn is_done(&self) -> bool {
        self.finished && self.end_seen
    }
}

impl Life {
    pub(super) fn new(id: u64, opened_at: Instant) -> Self {
        let gateway = Grip { held: true, ..Grip::default() };
        let grips = [gateway, Grip::default()];
        Self {
            id,
            opened_at,
            grips,
            offered: 0,
            answered: None,
            opened: false,
            unheard: false,
            unsaid: false,
        }
    }

    /// An application, or a loss that was judged, has ended it early.
    pub(super) fn is_cut(&self) -> bool {
        self.grips.iter().any(|grip| grip.cut || grip.lost)
    }

    /// Both applications saw all of it, and its end.
    pub(super) fn is_whole(&self) -> bool {
        self.grips.iter().all(Grip::is_done)
            && self.grips[AGENT].read == self.grips[GATEWAY].written
            && self.grips[GATEWAY].read == self.grips[AGENT].written
    }
}

const PERIOD: usize = 65_521;

/// Bytes that differ by session, direction and place, so that no gap, repeat or mix-up goes unseen.
pub(super) fn pattern(id: u64, writer: usize, offset: u64, len: usize) -> Bytes {
    static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let once: Vec<u8> = (0..PERIOD).map(|_| rng.random()).collect();
        Bytes::from([once.clone(), once].concat())
    });
    assert!(len <= PERIOD);
    let start = id.wrapping_mul(7919).wrapping_add(writer as u64 * 13_001).wrapping_add(offset);
    let start = (start % PERIOD as u64) as usize;
    NOISE.slice(start..start + len)
}
