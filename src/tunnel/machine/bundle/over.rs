//! Sessions that came to their proper end at this end, for a peer whose last word on them was lost.

use std::collections::{HashSet, VecDeque};

/// How many are remembered: those of the last second of a busy tunnel.
const REMEMBERED: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Over {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Over {
    pub(super) fn insert(&mut self, session: u64) {
        if self.known.insert(session) {
            self.order.push_back(session);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, session: u64) -> bool {
        self.known.contains(&session)
    }
}
