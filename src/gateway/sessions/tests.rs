use std::time::Duration;

use warren_core::balance::Rule;

use super::*;

fn begin(log: &SessionLog) -> Entry {
    log.begin(&wanted(), &SessionMeters::of("g".into()), "127.0.0.1:9".parse().unwrap(), [0; 16])
}

fn begin_guest(log: &SessionLog) -> Entry {
    let (trace, caller) = (TraceId([7; 16]), "127.0.0.1:9".parse().unwrap());
    log.begin_guest(&wanted(), "g".into(), caller, (trace.0, SpanId::root(trace)))
}

fn wanted() -> Wanted {
    Wanted { group: GroupId::from_random(1), resource: "db".parse().unwrap() }
}

fn attempt() -> Attempt {
    let (candidates, chosen) = (Vec::new(), AgentId::from_random(2));
    Attempt {
        candidates,
        chosen,
        rule: Rule::Only,
        result: "ok",
        after: Duration::ZERO,
        took: Duration::ZERO,
        number: None,
    }
}

#[test]
fn a_session_is_seen_while_open_and_after() {
    let log = SessionLog::default();
    let entry = begin(&log);
    entry.tries(AgentId::from_random(2), "a".into());
    entry.carried(attempt(), Arc::default());
    let filter = SessionFilter { limit: 10, ..Default::default() };
    let (open, total) = log.list(&filter);
    assert_eq!((open[0].member_name.as_str(), open[0].outcome, total), ("a", Outcome::Open, 1));
    let id = entry.id();
    entry.end(Outcome::Closed, String::new());
    assert!(log.list(&filter).0.is_empty());
    assert_eq!(log.list(&SessionFilter { ended: true, ..filter }).0.len(), 1);
    let ended = log.get(id).unwrap();
    assert_eq!((ended.outcome, ended.member_name.as_str()), (Outcome::Closed, "a"));
    assert!(ended.closed.is_some());
}

#[test]
fn a_guest_is_shown_once_it_is_tried_on_a_member() {
    let log = SessionLog::default();
    let guest = || begin_guest(&log);
    for _ in 0..3 {
        guest().end(Outcome::NotOpened(Failure::NoMember), String::new());
    }
    let everything = SessionFilter { ended: true, limit: 10, ..Default::default() };
    assert_eq!((log.list(&everything).0.len(), log.open_total()), (0, 0));
    let (own, guest) = (begin(&log), guest());
    guest.tries(AgentId::from_random(2), "a".into());
    assert_eq!(log.count()[&wanted().group], OpenSessions { own: 1, guests: 1 });
    guest.end(Outcome::Closed, String::new());
    assert_eq!(log.list(&everything).0.len(), 2);
    assert_eq!(log.of_trace(TraceId([7; 16])).unwrap().member_name, "a");
    assert!(log.of_trace(TraceId([8; 16])).is_none());
    drop(own);
}

#[test]
fn the_ring_forgets_the_oldest() {
    let log = SessionLog::default();
    for _ in 0..ENDED_MAX + 5 {
        begin(&log).end(Outcome::Closed, String::new());
    }
    assert!(log.get(5).is_none());
    assert!(log.get(6).is_some());
    assert_eq!(log.open_total(), 0);
}

#[test]
fn a_session_that_nobody_ended_does_not_stay_open() {
    let log = SessionLog::default();
    let id = begin(&log).id();
    assert_eq!(log.get(id).unwrap().outcome.as_str(), "stopping");
}
