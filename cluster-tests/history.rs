//! The oracle on config: what clients asked of a group and were told, and whether that can be the truth.
//!
//! A group's config is one document under a revision. A [`Write`](Op::Write) may name the revision that it expects; it was
//! made, refused, or nobody knows. The history is sound when every answer fits one order of all that was made, in which each call has its
//! place between its invocation and its answer ([`Told::check`]); a write that nobody knows of may have its place anywhere after
//! its invocation, or none. That includes that no acknowledged write is lost, none is made twice (a repeated request is one
//! write), and none that was refused is ever seen.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

mod client;
mod linearize;
mod on_site;
mod register;
#[cfg(test)]
mod tests;

pub use client::{Editors, Pace};
use register::check;
pub use register::{Sound, Unsound};

/// Number of a config revision.
pub type Revision = u64;
/// Number of a document; each write has one of its own.
pub type Document = u64;

/// Number of the client that reads at the end what the group says of the past.
const LOOK_BACK: usize = usize::MAX;

/// One call and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub client: usize,
    pub op: Op,
    pub outcome: Outcome,
    /// Both since the history's start.
    pub invoked: Duration,
    pub returned: Duration,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Replace the config, if it is at the expected revision.
    Write { expected: Option<Revision>, document: Document },
    /// Tell the config as some member knows it.
    Read,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The write was made.
    Written { revision: Revision },
    /// It was not, since the config is at another revision.
    Stale { actual: Revision },
    /// It was not and will not be, says the group, for another reason.
    Refused,
    /// It may have been made, or may still be.
    Unknown,
    /// What a read saw. Reads for people may be old, but never of what was not decided.
    Seen { revision: Revision, document: Document },
    /// A read that came to nothing.
    Unseen,
}

/// All that clients were told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The config before the first call.
    pub first: (Revision, Document),
    pub entries: Vec<Entry>,
    /// Repeated requests that were answered otherwise than the first time, and clients that were never answered.
    pub contradictions: Vec<String>,
}

/// Calls as they end, from many threads.
#[derive(Debug)]
pub struct History {
    start: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Told {
    pub fn check(&self) -> Result<Sound, Unsound> {
        if let Some(contradiction) = self.contradictions.first() {
            return Err(Unsound(contradiction.clone()));
        }
        let (revision, document) = self.first;
        check(revision, document, &self.entries)
    }
}

impl History {
    pub fn new(start: Instant) -> Self {
        Self { start, entries: Mutex::default() }
    }

    /// Makes one call, and remembers it.
    pub fn call(&self, client: usize, op: Op, make: impl FnOnce() -> Outcome) -> Outcome {
        let invoked = self.start.elapsed();
        let outcome = make();
        let entry = Entry { client, op, outcome, invoked, returned: self.start.elapsed() };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        outcome
    }

    /// All calls so far that have ended.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
