//! A revoked agent is out within seconds, and stays out however often it knocks.

use super::{super::ledger::REVOKED, Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut violations = Vec::new();
    let done = || evidence.ledger.revocations.iter().filter_map(|one| Some((&one.id, one.done?)));
    for (id, at) in done() {
        let mut looks = evidence.looks.iter().filter(|look| look.at > at + REVOKED);
        if let Some(look) = looks.find(|look| look.with_tunnel.contains(id)) {
            violations.push(format!("{id}, revoked at {at:.1?}, has a tunnel at {:.1?}", look.at));
        }
        let given =
            evidence.records.iter().find(|record| record.member == *id && record.tried > at + REVOKED);
        if let Some(record) = given {
            violations
                .push(format!("{id}, revoked at {at:.1?}, was given a session at {:.1?}", record.tried));
        }
    }
    let seen = format!("{} revoked", done().count());
    Finding::new("a revoked agent is out within seconds", seen, violations)
}
