//! Each invariant is broken once, by hand, and must be told.

use std::time::Duration;

use super::{
    super::{
        callers::{End, Kind, Seen},
        fault::{Fault, Who},
        records::{Look, Record},
    },
    *,
};
use crate::history::{Entry, Op, Outcome, Told};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn seen(kind: Kind, begun: u64, opened: Option<u64>, ended: u64, end: End) -> Seen {
    Seen { kind, local: None, begun: s(begun), opened: opened.map(s), ended: s(ended), end }
}

fn record(member: &str, begun: u64) -> Record {
    Record {
        resource: "answers".to_owned(),
        member: member.to_owned(),
        begun: s(begun),
        tried: s(begun),
        outcome: "closed".to_owned(),
        detail: String::new(),
    }
}

/// A fault on member `a`.
fn hurt(fault: Fault, from: u64, until: u64) -> Evidence {
    let mut evidence = Evidence::default();
    let number = evidence.ledger.begin(fault, vec!["a".to_owned()], s(from));
    evidence.ledger.end(number, s(until));
    evidence
}

/// The invariants that do not hold.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    let broken = check(evidence).into_iter().filter(|finding| !finding.violations.is_empty());
    broken.map(|finding| finding.invariant).collect()
}

#[test]
fn nothing_is_wrong_with_what_went_well() {
    let mut evidence = hurt(Fault::Kill(Who::Member(0)), 10, 15);
    evidence.sessions.push((seen(Kind::Open, 1, Some(1), 2, End::Fine), Some(record("a", 1))));
    evidence
        .sessions
        .push((seen(Kind::Talk, 1, Some(1), 10, End::Lost("reset".into())), Some(record("a", 1))));
    evidence.sessions.push((seen(Kind::Forbidden, 1, None, 1, End::Lost("denied".into())), None));
    assert!(broken(&evidence).is_empty(), "{:?}", check(&evidence));
}

#[test]
fn a_wrong_byte_and_a_quiet_end_are_told() {
    let quiet = || End::Silent("end of file".into());
    for (end, at) in [(End::Wrong("at byte 6000".into()), 9), (quiet(), 9), (quiet(), 100)] {
        let mut evidence = hurt(Fault::KillGateway, 100, 101);
        evidence.sessions.push((seen(Kind::Talk, 1, Some(1), at, end), None));
        assert!(broken(&evidence)[0].starts_with("bytes arrive once"), "{:?}", broken(&evidence));
    }
}

#[test]
fn an_open_and_a_session_without_an_excuse_are_told() {
    let mut evidence = hurt(Fault::Kill(Who::Member(0)), 10, 15);
    evidence
        .sessions
        .push((seen(Kind::Open, 12, None, 13, End::Lost("reset".into())), Some(record("a", 12))));
    assert!(broken(&evidence)[0].starts_with("an open fails only"));
    let mut evidence = hurt(Fault::Kill(Who::Member(0)), 10, 15);
    evidence
        .sessions
        .push((seen(Kind::Talk, 1, Some(1), 11, End::Lost("reset".into())), Some(record("b", 1))));
    assert!(broken(&evidence)[0].starts_with("a session is lost only"));
}

#[test]
fn whoever_reaches_what_is_denied_is_told() {
    let evidence = Evidence { tripped: 1, ..Evidence::default() };
    assert!(broken(&evidence)[0].starts_with("nothing reaches"));
}

#[test]
fn a_revoked_agent_with_a_tunnel_or_a_session_is_told() {
    let mut evidence = Evidence::default();
    evidence.ledger.asks_to_revoke("a", s(9));
    evidence.ledger.is_revoked("a", s(10));
    evidence.looks.push(Look { at: s(15), with_tunnel: vec!["a".to_owned()], ..Look::default() });
    assert!(broken(&evidence).is_empty(), "it has a few seconds");
    evidence.looks.push(Look { at: s(25), with_tunnel: vec!["a".to_owned()], ..Look::default() });
    assert!(broken(&evidence)[0].starts_with("a revoked agent"));
    evidence.looks.clear();
    evidence.records.push(record("a", 21));
    assert!(broken(&evidence)[0].starts_with("a revoked agent"));
}

#[test]
fn an_edit_without_a_quorum_is_told() {
    let mut evidence = hurt(Fault::LoseQuorum, 10, 20);
    evidence.told.entries.push(Entry {
        client: 0,
        op: Op::Write { expected: Some(0), document: 1 },
        outcome: Outcome::Written { revision: 1 },
        invoked: s(12),
        returned: s(13),
    });
    assert!(broken(&evidence)[0].starts_with("loss of quorum"));
}

#[test]
fn a_session_on_a_member_that_was_taken_out_is_told() {
    for fault in [Fault::Drain(Who::Leader), Fault::Disable(Who::Member(0))] {
        let mut evidence = hurt(fault, 10, 20);
        evidence.records.push(record("b", 15));
        evidence.records.push(record("a", 21));
        assert!(broken(&evidence).is_empty());
        evidence.records.push(record("a", 15));
        assert!(broken(&evidence).is_empty(), "the gateway has not shown yet that it knows");
        evidence.looks.push(Look { at: s(13), out: vec!["a".to_owned()], ..Look::default() });
        assert!(broken(&evidence)[0].starts_with("a draining or disabled"));
    }
}

#[test]
fn a_member_counts_as_given_when_it_is_tried_and_not_when_its_caller_came() {
    let mut evidence = hurt(Fault::Disable(Who::Member(0)), 10, 20);
    evidence.looks.push(Look { at: s(11), out: vec!["a".to_owned()], ..Look::default() });
    evidence.records.push(Record { tried: s(21), ..record("a", 15) });
    assert!(broken(&evidence).is_empty(), "another was tried while it was out");
    evidence.records.push(Record { tried: s(15), ..record("a", 9) });
    assert_eq!(broken(&evidence).len(), 1);
}

#[test]
fn a_history_that_cannot_be_true_and_a_leak_are_told() {
    let op = Op::Write { expected: Some(0), document: 1 };
    let outcome = Outcome::Written { revision: 5 };
    let entry = Entry { client: 0, op, outcome, invoked: s(1), returned: s(2) };
    let told = Told { entries: vec![entry], ..Told::default() };
    let evidence = Evidence { told, leaks: vec!["log holds agent.key".into()], ..Evidence::default() };
    assert_eq!(broken(&evidence).len(), 2);
}
