//! The latest sessions of which something was so, in bounded memory.

use std::collections::{HashSet, VecDeque};

/// How many are remembered: those of the last second of a busy tunnel.
const REMEMBERED: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Remembered {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    /// The highest that was forgotten.
    forgotten: Option<u64>,
}

impl Remembered {
    pub(super) fn insert(&mut self, session: u64) {
        if self.known.insert(session) {
            self.order.push_back(session);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.forgotten = self.forgotten.max(Some(oldest));
        }
    }

    pub(super) fn contains(&self, session: u64) -> bool {
        self.known.contains(&session)
    }

    /// For certain never one of them, nor one that was forgotten.
    pub(super) fn never_had(&self, session: u64) -> bool {
        !self.contains(session) && self.forgotten < Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_forgotten_is_not_said_to_be_new() {
        let mut remembered = Remembered::default();
        let count = u64::try_from(REMEMBERED).unwrap();
        (0..count).for_each(|session| remembered.insert(2 * session));
        assert!(remembered.contains(0) && remembered.never_had(1));
        remembered.insert(2 * count);
        assert!(!remembered.contains(0) && !remembered.never_had(0), "forgotten");
        remembered.insert(2 * count + 2);
        assert!(!remembered.never_had(1), "below one that was forgotten");
        assert!(remembered.never_had(3) && remembered.never_had(2 * count + 3));
        assert!(!remembered.never_had(4), "remembered");
    }
}
