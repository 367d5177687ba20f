//! A revoked agent is out within seconds, and stays out however often it knocks.

use super::{super::ledger::REVOKED, Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut violations = Vec::new();
    for (id, at) in &evidence.ledger.revoked {
        let looks = evidence.looks.iter().filter(|look| look.at > *at + REVOKED);
        if let Some(look) = looks.clone().find(|look| look.with_tunnel.contains(id)) {
            violations.push(format!("{id}, revoked at {at:.1?}, has a tunnel at {:.1?}", look.at));
        }
        let given =
            evidence.records.iter().find(|record| record.member == *id && record.begun > *at + REVOKED);
        if let Some(record) = given {
            violations
                .push(format!("{id}, revoked at {at:.1?}, was given a session at {:.1?}", record.begun));
        }
    }
    let seen = format!("{} revoked", evidence.ledger.revoked.len());
    Finding::new("a revoked agent is out within seconds", seen, violations)
}
