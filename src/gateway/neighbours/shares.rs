//! Fair shares of what a tunnel to another gateway can hold.
//!
//! A group may take a place while it holds fewer than are free. So one alone gets half of them, two that want all get a third
//! each, and whoever comes last finds some.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use warren_core::id::GroupId;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    held: BTreeMap<GroupId, usize>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Shares,
    group: GroupId,
}

impl Shares {
    pub(super) fn new(places: usize) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { free: places, held: BTreeMap::new() })) }
    }

    /// A place for the group; `None` when it has its share.
    pub(crate) fn take(&self, group: GroupId) -> Option<Share> {
        let mut inner = self.lock();
        let held = inner.held.get(&group).copied().unwrap_or_default();
        if held >= inner.free {
            return None;
        }
        inner.free -= 1;
        inner.held.insert(group, held + 1);
        Some(Share { of: self.clone(), group })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut inner = self.of.lock();
        inner.free += 1;
        if let Some(held) = inner.held.get_mut(&self.group) {
            *held -= 1;
            if *held == 0 {
                inner.held.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u64) -> GroupId {
        GroupId::from_random(number)
    }

    /// As many as it gets.
    fn all(shares: &Shares, number: u64) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(group(number))).collect()
    }

    #[test]
    fn whoever_wants_all_leaves_places_for_those_who_come_later() {
        let shares = Shares::new(120);
        let held = [all(&shares, 1), all(&shares, 2), all(&shares, 3), all(&shares, 4)];
        assert_eq!(held.each_ref().map(Vec::len), [60, 30, 15, 8]);
    }

    #[test]
    fn what_is_given_back_is_shared_anew() {
        let shares = Shares::new(120);
        let (mut first, second) = (all(&shares, 1), all(&shares, 2));
        first.truncate(10);
        assert_eq!(second.len() + all(&shares, 2).len(), 55);
        drop((first, second));
        assert_eq!(all(&shares, 3).len(), 60);
        assert!(shares.lock().held.is_empty(), "nobody holds anything");
    }
}
