//! Single steps, for tests that are written out.

use super::{
    life::pattern,
    net::{AGENT, GATEWAY, Net, SIDES, Told},
};
use crate::{
    frame::{OpenRequest, ResetReason},
    machine::{Config, Event, Received},
};

/// Lengths of what the two ends say.
pub(super) const QUESTION: usize = 40;
pub(super) const ANSWER: usize = 60;

/// Two processes without tunnels, with the usual settings.
pub(super) fn plain() -> Net {
    Net::plain(Config::default(), Config::default())
}

impl Net {
    /// Events of a session at one side, and of no session, since the last call.
    pub(super) fn take_told(&mut self, side: usize) -> Vec<Event> {
        let all = std::mem::take(&mut self.told);
        let (ours, theirs): (Vec<Told>, Vec<Told>) = all.into_iter().partition(|told| told.side == side);
        self.told = theirs.into();
        ours.into_iter().map(|told| told.event).collect()
    }

    pub(super) fn resets(&mut self, side: usize) -> Vec<ResetReason> {
        let events = self.take_told(side).into_iter();
        let reset = |event| if let Event::Reset { reason, .. } = event { Some(reason) } else { None };
        events.filter_map(reset).collect()
    }

    pub(super) fn open(&mut self, line: usize, id: u64) {
        let key = self.key(GATEWAY, line).unwrap();
        self.hosts[GATEWAY].bundle.open(key, id, OpenRequest::resource("r"), self.now).unwrap();
    }

    /// A session that both ends use.
    pub(super) fn open_whole(&mut self, line: usize, id: u64) {
        self.open(line, id);
        self.settle();
        self.hosts[AGENT].bundle.accept(id);
        self.settle();
        self.told.clear();
    }

    pub(super) fn send(&mut self, side: usize, id: u64, offset: u64, len: usize) -> usize {
        self.hosts[side].bundle.send(id, &mut pattern(id, side, offset, len)).unwrap()
    }

    pub(super) fn recv(&mut self, side: usize, id: u64) -> Received {
        self.hosts[side].bundle.recv(id, usize::MAX, self.now)
    }

    pub(super) fn read(&mut self, side: usize, id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while let Received::Bytes(bytes) = self.recv(side, id) {
            out.extend_from_slice(&bytes);
        }
        out
    }

    pub(super) fn finish(&mut self, side: usize, id: u64) {
        self.hosts[side].bundle.finish(id);
    }

    pub(super) fn release(&mut self, side: usize, id: u64) {
        self.hosts[side].bundle.release(id, self.now);
    }

    #[track_caller]
    pub(super) fn assert_nothing_left(&self) {
        for side in SIDES {
            assert!(self.left(side).is_empty(), "side {side}: {:?}", self.left(side));
        }
    }
}
