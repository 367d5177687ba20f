//! A draining or disabled member gets no new session from a gateway that has seen the change.

use std::time::Duration;

use super::{super::fault::Fault, Evidence, Finding};

/// A member may have been chosen just before and be tried just after.
const MOMENT: Duration = Duration::from_millis(300);

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut violations = Vec::new();
    let out: Vec<_> = evidence
        .ledger
        .hurts()
        .filter(|hurt| matches!(hurt.fault, Fault::Drain(_) | Fault::Disable(_)))
        .collect();
    let mut seen = 0;
    for hurt in &out {
        // It was decided then; a gateway that is told so late has not seen it before.
        let shown = evidence.looks.iter().find(|look| {
            look.at >= hurt.from
                && look.at < hurt.over()
                && hurt.members.iter().any(|id| look.out.contains(id))
        });
        let Some(shown) = shown else { continue };
        seen += 1;
        let given = evidence.records.iter().filter(|record| {
            hurt.members.contains(&record.member)
                && record.tried > shown.at + MOMENT
                && record.tried + MOMENT < hurt.over()
                && !evidence.is_gateway_new(record.tried)
        });
        violations.extend(given.map(|record| {
            let (from, over) = (hurt.from, hurt.over());
            format!(
                "{}, out from {from:.1?} to {over:.1?}, was given a session at {:.1?}",
                record.member, record.tried
            )
        }));
    }
    let seen = format!("{} taken out and back, {seen} of them for long enough to be looked at", out.len());
    Finding::new("a draining or disabled member gets no new session", seen, violations)
}
