//! Loss of quorum stops edits. That it stops no traffic is seen by the callers: it excuses none of them.

use super::{super::fault::Fault, Evidence, Finding};
use crate::history::{Entry, Outcome};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let without: Vec<_> = evidence
        .ledger
        .hurts()
        .filter(|hurt| matches!(hurt.fault, Fault::LoseQuorum | Fault::KillAll))
        .collect();
    let inside =
        |entry: &&Entry| without.iter().any(|hurt| entry.invoked > hurt.from && entry.returned < hurt.over());
    let asked: Vec<_> = evidence.told.entries.iter().filter(inside).collect();
    // It begins before the first is killed: what is asked for meanwhile may be decided by those who are left.
    const KILLING: std::time::Duration = std::time::Duration::from_millis(500);
    let made = asked.iter().filter(|entry| {
        let begun =
            without.iter().any(|hurt| entry.invoked > hurt.from + KILLING && entry.returned < hurt.over());
        begun && matches!(entry.outcome, Outcome::Written { .. } | Outcome::Stale { .. })
    });
    let violations = made.map(|entry| format!("decided without a quorum: {entry:?}")).collect();
    let seen = format!("lost {} times on purpose, {} calls meanwhile", without.len(), asked.len());
    Finding::new("loss of quorum stops edits, never traffic", seen, violations)
}
