//! What will happen, in order. Two things at one time happen in the order in which they were planned, so that a seed is
//! a life to the letter.

use std::collections::BTreeMap;

/// Milliseconds of virtual time.
pub(crate) type Ms = u64;

#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(Ms, u64), E>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    pub(crate) fn plan(&mut self, at: Ms, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// What happens next before this time.
    pub(crate) fn next(&mut self, before: Ms) -> Option<(Ms, E)> {
        let next = self.events.first_entry().filter(|next| next.key().0 < before)?;
        Some((next.key().0, next.remove()))
    }
}
