//! A draining or disabled member gets no new session from a gateway that has seen the change.

use std::time::Duration;

use super::{super::fault::Fault, Evidence, Finding};

/// A caller may have come just before and been given its member just after.
const MOMENT: Duration = Duration::from_millis(300);

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut violations = Vec::new();
    let out: Vec<_> = evidence
        .ledger
        .hurts()
        .filter(|hurt| matches!(hurt.fault, Fault::Drain(_) | Fault::Disable(_)))
        .collect();
    for hurt in &out {
        let given = evidence.records.iter().filter(|record| {
            hurt.members.contains(&record.member)
                && record.begun > hurt.from + MOMENT
                && record.begun + MOMENT < hurt.over()
                && !evidence.is_gateway_new(record.begun)
        });
        violations.extend(given.map(|record| {
            let (from, over) = (hurt.from, hurt.over());
            format!(
                "{}, out from {from:.1?} to {over:.1?}, was given a session at {:.1?}",
                record.member, record.begun
            )
        }));
    }
    let seen = format!("{} taken out and back", out.len());
    Finding::new("a draining or disabled member gets no new session", seen, violations)
}
