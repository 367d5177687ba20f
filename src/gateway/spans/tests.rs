use std::sync::{Mutex, PoisonError};

use warren_core::{
    balance::Rule,
    id::{AgentId, GroupId},
    trace::{Sample, Sink},
};

use super::*;

const TRACE: TraceId = TraceId([0x11; 16]);

fn gateway() -> GatewayId {
    GatewayId::from_random(5)
}

fn attempt(result: &'static str, after_ms: u64, number: Option<u64>) -> Attempt {
    Attempt {
        candidates: Vec::new(),
        chosen: AgentId::from_random(9),
        rule: Rule::Only,
        result,
        after: Duration::from_millis(after_ms),
        took: Duration::from_millis(2),
        number,
    }
}

fn story(outcome: Outcome, attempts: Vec<Attempt>) -> Story {
    let opened = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    let record = SessionRecord {
        id: 3,
        group: GroupId::from_random(1),
        resource: "db".parse().unwrap(),
        caller: "10.1.2.3:4567".parse().unwrap(),
        member: Some(AgentId::from_random(9)),
        member_name: "a9".into(),
        opened,
        closed: Some(opened + Duration::from_secs(1)),
        bytes_up: 5,
        bytes_down: 7,
        outcome,
        detail: String::new(),
        attempts,
        trace: TRACE.0,
    };
    Story { record, group: "acme/site".into(), asked: None }
}

fn told<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
}

#[test]
fn attempts_are_parts_of_the_session_one_after_the_other() {
    let story = story(Outcome::Closed, vec![attempt("busy", 1, Some(41)), attempt("ok", 4, Some(42))]);
    let session = story.session(Some(gateway()));
    assert_eq!((session.id, session.parent), (SpanId::root(TRACE), None));
    assert_eq!(session.end - Duration::from_secs(1), session.start);
    assert_eq!(told(&session, "warren.group"), Some(&"acme/site".into()));
    assert_eq!(told(&session, "warren.gateway"), Some(&gateway().to_string().into()));
    assert_eq!(told(&session, "client.address"), Some(&"10.1.2.3".into()));
    assert_eq!(told(&session, "warren.bytes.down"), Some(&7_u64.into()));
    let spans: Vec<_> = story
        .record
        .attempts
        .iter()
        .enumerate()
        .map(|(place, attempt)| story.attempt(attempt, place, Some(gateway())))
        .collect();
    // What the agents will call their parents.
    let asked = |number| SpanId::asked(TRACE, gateway().number(), number);
    assert_eq!((spans[0].id, spans[1].id), (asked(41), asked(42)));
    assert!(spans.iter().all(|span| span.parent == Some(session.id) && span.kind == Kind::Client));
    assert!(spans[0].end <= spans[1].start && session.start <= spans[0].start);
    assert_eq!((spans[0].failure.as_deref(), spans[1].failure.as_deref()), (Some("busy"), None));
    assert_eq!(told(&spans[0], "error.type"), Some(&"busy".into()));
}

#[test]
fn a_guest_is_a_part_of_what_the_other_gateway_asked() {
    let asked = SpanId::asked(TRACE, 77, 8);
    let guest = Story { asked: Some(asked), ..story(Outcome::Closed, vec![attempt("ok", 0, Some(1))]) };
    let session = guest.session(Some(gateway()));
    assert_eq!((session.parent, session.id), (Some(asked), asked.answered(TRACE)));
    let attempt = guest.attempt(&guest.record.attempts[0], 0, Some(gateway()));
    assert_eq!(attempt.parent, Some(session.id));
    // As it is told where its caller came to.
    let (start, took) = (SystemTime::UNIX_EPOCH, Duration::from_millis(1));
    let passed = PassedOn { to: gateway(), number: Some(8), result: "ok", start, took };
    let passed = passed.span(TRACE, 3, 77);
    assert_eq!((passed.id, passed.parent), (asked, Some(SpanId::root(TRACE))));
}

#[test]
fn attempts_that_asked_nobody_are_told_apart() {
    let story =
        story(Outcome::Closed, vec![attempt("tunnel_lost", 0, None), attempt("tunnel_lost", 1, None)]);
    let ids: Vec<_> =
        (0..2).map(|place| story.attempt(&story.record.attempts[place], place, Some(gateway())).id).collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn only_what_is_somebodys_trouble_is_an_error() {
    let failure = |outcome| story(outcome, Vec::new()).session(None).failure;
    assert_eq!(failure(Outcome::Closed), None);
    assert_eq!(failure(Outcome::Cut(ResetReason::CallerGone)), None);
    assert_eq!(failure(Outcome::NotOpened(Failure::CallerGone)), None);
    assert_eq!(failure(Outcome::Cut(ResetReason::TunnelLost)).as_deref(), Some("tunnel_lost"));
    assert_eq!(failure(Outcome::NotOpened(Failure::NoMember)).as_deref(), Some("no_member"));
}

/// Keeps what it is told.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<&'static str>>>);

impl Sink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span.name);
    }
}

#[test]
fn what_came_before_the_session_was_open_is_told_then_and_once() {
    use crate::sessions::{SessionLog, Wanted};

    let kept = Kept::default();
    let log = SessionLog::new(Spans::new(Tracer::new(Sample::ALL, kept.clone()), gateway()));
    let meters = crate::metrics::SessionMeters::of("g".into());
    let wanted = Wanted { group: GroupId::from_random(1), resource: "db".parse().unwrap() };
    let begin = || log.begin(&wanted, &meters, "127.0.0.1:9".parse().unwrap(), TRACE.0);
    let names = || std::mem::take(&mut *kept.0.lock().unwrap());

    let entry = begin();
    entry.tries(AgentId::from_random(9), "a9".into());
    entry.attempted(attempt("busy", 0, Some(1)));
    assert_eq!(names(), [""; 0]);
    entry.carried(attempt("ok", 1, Some(2)), Arc::default());
    assert_eq!(names(), ["attempt", "attempt"]);
    entry.end(Outcome::Closed, String::new());
    assert_eq!(names(), ["session"]);

    let entry = begin();
    entry.attempted(attempt("busy", 0, Some(3)));
    entry.end(Outcome::NotOpened(Failure::NoMember), String::new());
    assert_eq!(names(), ["attempt", "session"]);
}

#[test]
fn a_trace_that_is_not_followed_is_not_told_of() {
    use crate::sessions::{SessionLog, Wanted};

    let kept = Kept::default();
    let log = SessionLog::new(Spans::new(Tracer::new("0".parse().unwrap(), kept.clone()), gateway()));
    let meters = crate::metrics::SessionMeters::of("g".into());
    let wanted = Wanted { group: GroupId::from_random(1), resource: "db".parse().unwrap() };
    let entry = log.begin(&wanted, &meters, "127.0.0.1:9".parse().unwrap(), TRACE.0);
    entry.carried(attempt("ok", 0, Some(1)), Arc::default());
    entry.end(Outcome::Closed, String::new());
    assert!(kept.0.lock().unwrap().is_empty());
}
