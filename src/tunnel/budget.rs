//! How much memory the sessions of a tunnel, and of the whole process, may hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A bound on session bytes, shared by all who hold a clone. Children count against their parent too.
///
/// Two things are counted. *Held* bytes are in memory now; they are never refused, because the peer was promised the
/// window that they came through, but a budget that is spent admits no further session. *Grown* bytes are what windows
/// were promised above their start; they are refused when they pass half of the limit.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    held: AtomicUsize,
    grown: AtomicUsize,
    parent: Option<Budget>,
}

impl Budget {
    /// A budget of `limit` bytes for the process.
    pub fn new(limit: usize) -> Self {
        Self::build(limit, None)
    }

    /// A budget of `limit` bytes that also counts against this one; one for each tunnel.
    pub fn child(&self, limit: usize) -> Self {
        Self::build(limit, Some(self.clone()))
    }

    /// Bytes in memory now.
    pub fn held(&self) -> usize {
        self.0.held.load(Relaxed)
    }

    /// Bytes promised to windows above their start.
    pub fn grown(&self) -> usize {
        self.0.grown.load(Relaxed)
    }

    /// Whether no further session may start.
    pub fn is_spent(&self) -> bool {
        self.held() >= self.0.limit || self.0.parent.as_ref().is_some_and(Self::is_spent)
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.take(bytes);
        }
    }

    pub(crate) fn give(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.give(bytes);
        }
    }

    /// Reserves `bytes` of window growth; false, and nothing reserved, when there is no room.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        let half = self.0.limit / 2;
        let room = |grown: usize| grown.checked_add(bytes).filter(|sum| *sum <= half);
        if self.held() >= half || self.0.grown.fetch_update(Relaxed, Relaxed, room).is_err() {
            return false;
        }
        if self.0.parent.as_ref().is_none_or(|parent| parent.grow(bytes)) {
            return true;
        }
        self.0.grown.fetch_sub(bytes, Relaxed);
        false
    }

    /// Counts `bytes` of growth that another budget of the same process had granted.
    pub(crate) fn move_grown(&self, bytes: usize) {
        self.0.grown.fetch_add(bytes, Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.move_grown(bytes);
        }
    }

    pub(crate) fn shrink(&self, bytes: usize) {
        self.0.grown.fetch_sub(bytes, Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.shrink(bytes);
        }
    }

    fn build(limit: usize, parent: Option<Self>) -> Self {
        Self(Arc::new(Inner { limit, held: AtomicUsize::new(0), grown: AtomicUsize::new(0), parent }))
    }
}

impl Default for Budget {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_count_against_the_parent() {
        let process = Budget::new(100);
        let (a, b) = (process.child(80), process.child(80));
        a.take(60);
        assert!(!a.is_spent() && !b.is_spent());
        b.take(40);
        assert!(a.is_spent(), "the process is full");
        b.give(40);
        assert!(!a.is_spent());
        assert_eq!(process.held(), 60);
    }

    #[test]
    fn growth_stops_at_half_and_is_given_back_whole() {
        let process = Budget::new(100);
        let (a, b) = (process.child(80), process.child(80));
        assert!(a.grow(40));
        assert!(!a.grow(1), "half of the tunnel's limit");
        assert!(!b.grow(20), "half of the process's limit");
        assert_eq!(b.grown(), 0, "a refused growth reserves nothing");
        a.shrink(40);
        assert!(b.grow(20));
    }
}
