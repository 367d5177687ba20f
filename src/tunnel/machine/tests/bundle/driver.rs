//! What the drivers of the tunnels do, and the network between them.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;

use super::net::{GATEWAY, Net, SIDES, Stage};
use crate::{
    frame::{CloseReason, Frame},
    machine::{ProtocolError, Tunnel},
};

impl Net {
    /// One round of everything that is due now; true when something moved.
    pub(super) fn exchange(&mut self) -> bool {
        let mut moved = false;
        for line in 0..self.lines.len() {
            for side in SIDES {
                if self.is_held(side, line) {
                    moved |= self.run_end(side, line);
                }
            }
        }
        let now = self.now;
        for side in SIDES {
            let bundle = &mut self.hosts[side].bundle;
            if bundle.poll_expiry().is_some_and(|at| at <= now) {
                bundle.expire(now);
                moved = true;
            }
            // All drivers run all the time.
            bundle.take_touched();
            self.collect_parked(side);
        }
        moved
    }

    /// What the driver of one end does.
    fn run_end(&mut self, side: usize, line: usize) -> bool {
        // The first word is said before anything is heard.
        let greets = matches!(self.lines[line].ends[side].stage, Stage::Greeting(_));
        let mut moved = greets && self.transmit(side, line);
        moved |= self.receive(side, line);
        moved |= self.be_told(side, line);
        moved |= self.join(side, line);
        moved |= self.handle_timeout(side, line);
        self.collect(side, line);
        moved |= self.transmit(side, line);
        moved |= self.part(side, line);
        self.collect(side, line);
        moved
    }

    fn receive(&mut self, side: usize, line: usize) -> bool {
        let now = self.now;
        let mut moved = false;
        // What comes behind the hello is read by the driver, after the tunnel has joined.
        if matches!(self.lines[line].ends[side].stage, Stage::Greeted(..)) {
            return false;
        }
        while let Some(piece) = self.lines[line].pipes[1 - side].arrive(now) {
            moved = true;
            let Some(bytes) = piece else {
                self.lose(side, line, "the peer closed the connection");
                break;
            };
            self.lines[line].ends[side].decoder.push(bytes);
            while let Some(frame) =
                self.lines[line].ends[side].decoder.next_frame().expect("the network changes no bytes")
            {
                self.take_frame(side, line, frame);
            }
        }
        moved
    }

    fn take_frame(&mut self, side: usize, line: usize, frame: Frame) {
        let (now, label) = (self.now, &self.label);
        let fine = |result: Result<(), ProtocolError>| {
            assert_eq!(result, Ok(()), "{label}: side {side} blames its peer");
        };
        let joins_after = self.lines[line].pipes[1 - side].joins_after();
        let end = &mut self.lines[line].ends[side];
        match &mut end.stage {
            Stage::Greeting(tunnel) => {
                fine(tunnel.handle_frame(frame, now));
                if tunnel.is_ready()
                    && let Stage::Greeting(tunnel) = std::mem::replace(&mut end.stage, Stage::Gone)
                {
                    end.stage = Stage::Greeted(tunnel, Vec::new(), now + joins_after);
                }
            }
            Stage::Greeted(_, frames, _) => frames.push(frame),
            Stage::Joined(key) => fine(self.hosts[side].bundle.handle_frame(*key, frame, now)),
            Stage::Gone => {}
        }
    }

    fn be_told(&mut self, side: usize, line: usize) -> bool {
        let told = self.lines[line].ends[side].told_at.is_some_and(|at| at <= self.now);
        if told {
            self.lose(side, line, "connection reset");
        }
        told
    }

    /// The connection is gone, as far as this end knows.
    fn lose(&mut self, side: usize, line: usize, detail: &str) {
        self.lines[line].ends[side].told_at = None;
        self.act(side, line, |tunnel| tunnel.lost(detail));
        self.leave(side, line);
    }

    fn leave(&mut self, side: usize, line: usize) {
        self.collect(side, line);
        let stage = std::mem::replace(&mut self.lines[line].ends[side].stage, Stage::Gone);
        if let Stage::Joined(key) = stage {
            self.hosts[side].bundle.leave(key);
        }
        let now = self.now;
        self.lines[line].pipes[side].end(now);
    }

    fn join(&mut self, side: usize, line: usize) -> bool {
        let now = self.now;
        let end = &mut self.lines[line].ends[side];
        if !matches!(&end.stage, Stage::Greeted(_, _, at) if *at <= now) {
            return false;
        }
        let Stage::Greeted(tunnel, frames, _) = std::mem::replace(&mut end.stage, Stage::Gone) else {
            return false;
        };
        let key = self.hosts[side].bundle.join(*tunnel, now);
        self.lines[line].ends[side].stage = Stage::Joined(key);
        if SIDES.iter().all(|side| self.key(*side, line).is_some()) {
            self.lines[line].joined_at = Some(now);
        }
        for frame in frames {
            self.take_frame(side, line, frame);
        }
        if side == GATEWAY {
            self.fence(line);
        }
        true
    }

    /// The gateway closes the older tunnels of the same slot, as its registry does.
    fn fence(&mut self, joined: usize) {
        let same = |line: &usize| self.lines[*line].slot == self.lines[joined].slot;
        let mut same: Vec<usize> = (0..self.lines.len()).filter(same).collect();
        same.retain(|line| self.key(GATEWAY, *line).is_some());
        same.pop();
        for line in same {
            self.act(GATEWAY, line, |tunnel| tunnel.close(CloseReason::Fenced, "a newer one is there"));
        }
    }

    fn handle_timeout(&mut self, side: usize, line: usize) -> bool {
        let now = self.now;
        let due = |tunnel: &Tunnel| tunnel.poll_timeout().is_some_and(|at| at <= now);
        match &mut self.lines[line].ends[side].stage {
            Stage::Greeting(tunnel) if due(tunnel) => {
                tunnel.handle_timeout(now);
                self.leave(side, line);
                true
            }
            Stage::Joined(key) if self.hosts[side].bundle.tunnel(*key).is_some_and(due) => {
                self.hosts[side].bundle.handle_timeout(*key, now);
                true
            }
            _ => false,
        }
    }

    fn transmit(&mut self, side: usize, line: usize) -> bool {
        let Self { now, shape, rng, .. } = self;
        let (now, shape) = (*now, *shape);
        if self.lines[line].pipes[side].under_way() >= shape.under_way_max {
            return false;
        }
        let mut out = Vec::new();
        match &mut self.lines[line].ends[side].stage {
            Stage::Greeting(tunnel) => tunnel.poll_transmit(now, 4096, &mut out),
            Stage::Joined(key) => {
                let max = rng.random_range(shape.batch_max / 8..=shape.batch_max);
                self.hosts[side].bundle.poll_transmit(*key, now, max, &mut out)
            }
            Stage::Greeted(..) | Stage::Gone => 0,
        };
        let moved = !out.is_empty();
        for mut bytes in out {
            while !bytes.is_empty() {
                let whole = bytes.len() <= shape.piece_max && shape.piece_max == usize::MAX;
                let max = shape.piece_max.min(bytes.len());
                let len = if whole { max } else { self.rng.random_range(1..=max) };
                let piece: Bytes = bytes.split_to(len);
                let late = if self.rng.random_bool(shape.late) { self.rng.random_range(0..20) } else { 0 };
                self.lines[line].pipes[side].push(piece, now + Duration::from_millis(late));
            }
        }
        moved
    }

    /// A driver goes when its last frame has left, or a moment later.
    fn part(&mut self, side: usize, line: usize) -> bool {
        let Some(key) = self.key(side, line) else { return false };
        let Some(tunnel) = self.hosts[side].bundle.tunnel(key) else {
            panic!("{}: side {side} forgot a tunnel whose driver is there", self.label);
        };
        if !tunnel.is_ended() {
            return false;
        }
        let closed = tunnel.is_closed();
        let now = self.now;
        let within = self.hosts[side].config.close_within;
        let by = *self.lines[line].ends[side].leave_by.get_or_insert(now + within);
        let parts = closed || by <= now;
        if parts {
            self.leave(side, line);
        }
        parts
    }
}
