//! A caller gets what it asks for unless a fault of that moment, on that member, excuses it.

use std::time::Duration;

use super::{
    super::{
        callers::{End, Kind, Seen},
        records::Record,
    },
    Evidence, Finding,
};

/// A failure so long after the gateway's return has another reason.
const LATELY: Duration = Duration::from_secs(10);

pub(super) fn opens(evidence: &Evidence) -> Finding {
    let asked = || evidence.sessions.iter().filter(|(seen, _)| seen.kind != Kind::Forbidden);
    let failed: Vec<_> = asked().filter(|(seen, _)| seen.opened.is_none() && seen.end != End::Fine).collect();
    let unexcused = failed.iter().filter(|(seen, record)| {
        let member = Evidence::member_of(record.as_ref());
        !evidence.ledger.excuses_open(member, seen.begun, seen.ended)
    });
    // Of those that failed: while the gateway was away, or its members were not back yet.
    let gateway: Vec<_> = failed
        .iter()
        .filter_map(|(seen, _)| evidence.ledger.since_gateway(seen.ended).filter(|since| *since < LATELY))
        .collect();
    let after = gateway.iter().max().copied().unwrap_or_default();
    let slowest = asked().filter_map(|(seen, _)| Some(seen.opened? - seen.begun)).max().unwrap_or_default();
    let seen = format!(
        "{} asked for, {} failed: {} for want of the gateway (the last one {after:.1?} after it was back), {} with a member; \
         slowest that did not {slowest:.1?}",
        asked().count(),
        failed.len(),
        gateway.len(),
        failed.len() - gateway.len(),
    );
    let told = unexcused.map(|(seen, record)| tell("not opened", seen, record.as_ref())).collect();
    Finding::new("an open fails only where a fault of that moment excuses it", seen, told)
}

pub(super) fn sessions(evidence: &Evidence) -> Finding {
    let opened = || evidence.sessions.iter().filter(|(seen, _)| seen.opened.is_some());
    let lost: Vec<_> =
        opened().filter(|(seen, _)| matches!(seen.end, End::Lost(_) | End::Silent(_))).collect();
    let unexcused = lost.iter().filter(|(seen, record)| {
        let member = Evidence::member_of(record.as_ref());
        // The loss may have come at any time since the last answer.
        !evidence.ledger.excuses_loss(member, seen.ended)
    });
    let time: Duration = opened().map(|(seen, _)| seen.ended - seen.begun).sum();
    let seen =
        format!("{} open for {:.0} s in all, {} lost", opened().count(), time.as_secs_f64(), lost.len());
    let told = unexcused.map(|(seen, record)| tell("lost", seen, record.as_ref())).collect();
    Finding::new("a session is lost only with its member or the gateway", seen, told)
}

fn tell(what: &str, seen: &Seen, record: Option<&Record>) -> String {
    let Seen { kind, local, begun, ended, end, .. } = seen;
    let record = record.map_or_else(
        || "of which the gateway has no record".to_owned(),
        |record| format!("on {}, says the gateway: {} {}", record.member, record.outcome, record.detail),
    );
    let local = local.map(|local| local.to_string()).unwrap_or_default();
    format!("{kind:?} {local} {what}, from {begun:.3?} to {ended:.3?}: {end:?} {record}")
}
