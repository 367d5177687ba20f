//! Sessions that wait for a tunnel.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::machine::{Entry, SessionPhase};

/// A session on no tunnel.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: Entry,
    /// Of the tunnel that last carried it.
    pub(super) epoch: u64,
    /// When it is given up.
    pub(super) until: Instant,
}

impl Waiting {
    /// Its open is not answered, and nothing was sent with it.
    pub(super) fn is_unsaid_open(&self) -> bool {
        let session = &self.entry.session;
        matches!(self.entry.phase, SessionPhase::Opening { .. }) && session.unacknowledged() == 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    sessions: BTreeMap<u64, Waiting>,
    by_time: BTreeSet<(Instant, u64)>,
    /// Sessions that are over, but were not let go of yet and have something to read, be it the end.
    aside: BTreeMap<u64, Entry>,
}

impl Parked {
    /// In the place of what waits under that id: a peer may have opened it on two tunnels.
    pub(super) fn insert(&mut self, id: u64, waiting: Waiting) {
        self.remove(id);
        self.by_time.insert((waiting.until, id));
        self.sessions.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.sessions.remove(&id)?;
        self.by_time.remove(&(waiting.until, id));
        Some(waiting)
    }

    /// All that waits, by id.
    pub(super) fn take(&mut self) -> BTreeMap<u64, Waiting> {
        self.by_time.clear();
        std::mem::take(&mut self.sessions)
    }

    /// Keeps a session that waits for nothing but its reader.
    pub(super) fn put_aside(&mut self, id: u64, mut entry: Entry) {
        entry.phase = SessionPhase::Lost;
        self.aside.insert(id, entry);
    }

    /// Nobody wants it any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.remove(id);
        self.aside.remove(&id);
    }

    pub(super) fn get(&self, id: u64) -> Option<&Entry> {
        self.sessions.get(&id).map(|waiting| &waiting.entry).or_else(|| self.aside.get(&id))
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        let waiting = self.sessions.get_mut(&id).map(|waiting| &mut waiting.entry);
        waiting.or_else(|| self.aside.get_mut(&id))
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }

    /// Those that the tunnel of that epoch carried last.
    pub(super) fn ids_of(&self, epoch: u64) -> Vec<u64> {
        let of = |(id, waiting): (&u64, &Waiting)| (waiting.epoch == epoch).then_some(*id);
        self.sessions.iter().filter_map(of).collect()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(u64, Waiting)> {
        let (_, id) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        Some((id, self.remove(id)?))
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.aside.is_empty()
    }
}
