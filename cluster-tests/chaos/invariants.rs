//! What must hold whatever happens, one file each.

use std::fmt;

use super::evidence::Evidence;

mod acknowledged;
mod bytes;
mod drained;
mod excused;
mod quorum;
mod revoked;
mod secrets;
#[cfg(test)]
mod tests;
mod veto;

/// What one invariant came to.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) invariant: &'static str,
    /// What was looked at, in numbers.
    pub(super) seen: String,
    pub(super) violations: Vec<String>,
}

/// All of them.
pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    [
        acknowledged::check,
        bytes::check,
        excused::opens,
        excused::sessions,
        veto::check,
        revoked::check,
        quorum::check,
        drained::check,
        secrets::check,
    ]
    .map(|check| check(evidence))
    .into()
}

pub(super) use secrets::leaks;

impl Finding {
    fn new(invariant: &'static str, seen: impl fmt::Display, violations: Vec<String>) -> Self {
        Self { invariant, seen: seen.to_string(), violations }
    }
}
