//! From what an agent sees of a session to the spans that tell of it.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use warren_core::{
    destination::Target,
    trace::{Kind, Span, SpanId, TraceId, Tracer, Value},
};
use warren_tunnel::{
    OpenRequest, OpenResult, ResetReason,
    splice::{SpliceEnd, SpliceReport},
};

/// The gateway gave the session up before its target was reached.
const CANCELLED: &str = "cancelled";
const CLOSED: &str = "closed";

/// A session whose trace is followed.
#[derive(Debug)]
pub(crate) struct Followed {
    tracer: Tracer,
    request: OpenRequest,
    /// What the gateway's span of its question is called.
    asked: SpanId,
    start: SystemTime,
}

/// A dial that is over.
#[derive(Debug)]
pub(crate) struct Dial {
    /// `None` when the group has no such resource.
    pub(crate) target: Option<Target>,
    /// The address that was reached.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) result: OpenResult,
    pub(crate) detail: String,
    pub(crate) start: SystemTime,
    pub(crate) took: Duration,
}

/// How a session ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    outcome: &'static str,
    detail: String,
    up: u64,
    down: u64,
}

impl Followed {
    /// The session that the gateway with that number asks for, under its `session` number; `None` if nobody follows it.
    /// On the heap: a session that nobody follows should not keep room for it.
    pub(crate) fn new(
        tracer: &Tracer,
        request: &OpenRequest,
        (gateway, session): (u64, u64),
    ) -> Option<Box<Self>> {
        let trace = TraceId(request.trace);
        tracer.follows(trace).then(|| {
            Box::new(Self {
                tracer: tracer.clone(),
                request: request.clone(),
                asked: SpanId::asked(trace, gateway, session),
                start: SystemTime::now(),
            })
        })
    }

    /// Tells of the dial at once: the session may be open for days.
    pub(crate) fn dialled(&self, dial: &Dial) {
        self.tracer.tell(self.dial(dial));
    }

    pub(crate) fn ended(&self, end: &End) {
        self.tracer.tell(self.session(end, SystemTime::now()));
    }

    fn session(&self, end: &End, now: SystemTime) -> Span {
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("warren.resource", self.request.name.as_str().into()),
            ("warren.outcome", end.outcome.into()),
            ("warren.bytes.up", end.up.into()),
            ("warren.bytes.down", end.down.into()),
        ];
        if let Ok(caller) = self.request.caller.parse::<SocketAddr>() {
            attributes.push(("client.address", caller.ip().to_string().into()));
            attributes.push(("client.port", u64::from(caller.port()).into()));
        }
        let is_well = [CLOSED, CANCELLED, ResetReason::CallerGone.as_str()].contains(&end.outcome);
        let failure = failure(is_well, end.outcome, &end.detail, &mut attributes);
        Span {
            trace: self.trace(),
            id: self.asked.answered(self.trace()),
            parent: Some(self.asked),
            name: "session",
            kind: Kind::Server,
            start: self.start,
            // The clock may have been set back meanwhile.
            end: now.max(self.start),
            attributes,
            failure,
        }
    }

    fn dial(&self, dial: &Dial) -> Span {
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("warren.resource", self.request.name.as_str().into()),
            ("warren.result", dial.result.as_str().into()),
        ];
        if let Some(target) = &dial.target {
            attributes.push(("server.address", target.host().into()));
            attributes.push(("server.port", u64::from(target.port()).into()));
        }
        if let Some(peer) = dial.peer {
            attributes.push(("network.peer.address", peer.ip().to_string().into()));
            attributes.push(("network.peer.port", u64::from(peer.port()).into()));
        }
        let is_well = dial.result == OpenResult::Ok;
        let failure = failure(is_well, dial.result.as_str(), &dial.detail, &mut attributes);
        let session = self.asked.answered(self.trace());
        Span {
            trace: self.trace(),
            id: session.dialled(self.trace()),
            parent: Some(session),
            name: "dial",
            kind: Kind::Client,
            start: dial.start,
            end: dial.start + dial.took,
            attributes,
            failure,
        }
    }

    fn trace(&self) -> TraceId {
        TraceId(self.request.trace)
    }
}

impl End {
    /// It was open, and was carried so.
    pub(crate) fn of(report: &SpliceReport) -> Self {
        let (outcome, detail) = match &report.end {
            SpliceEnd::Finished => (CLOSED, String::new()),
            SpliceEnd::Session(cut) => (cut.reason.as_str(), cut.detail.clone()),
            SpliceEnd::Socket(error) => (ResetReason::TargetReset.as_str(), error.to_string()),
        };
        Self { outcome, detail, up: report.to_socket, down: report.from_socket }
    }

    /// It was never open.
    pub(crate) fn refused(result: OpenResult, detail: &str) -> Self {
        Self { outcome: result.as_str(), detail: detail.to_owned(), ..Self::default() }
    }

    pub(crate) fn cancelled() -> Self {
        Self { outcome: CANCELLED, ..Self::default() }
    }
}

/// Notes what went wrong among the attributes, and tells it.
fn failure(
    is_well: bool,
    word: &'static str,
    detail: &str,
    attributes: &mut Vec<(&'static str, Value)>,
) -> Option<String> {
    if !detail.is_empty() {
        attributes.push(("warren.detail", detail.into()));
    }
    (!is_well).then(|| {
        attributes.push(("error.type", word.into()));
        if detail.is_empty() { word.to_owned() } else { detail.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: TraceId = TraceId([7; 16]);

    fn followed() -> Followed {
        Followed {
            tracer: Tracer::default(),
            request: OpenRequest {
                trace: TRACE.0,
                caller: "10.1.2.3:4567".into(),
                ..OpenRequest::resource("db")
            },
            asked: SpanId::asked(TRACE, 5, 42),
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
        }
    }

    fn told(span: &Span, key: &str) -> Option<Value> {
        span.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone())
    }

    #[test]
    fn the_dial_is_a_part_of_the_session_and_the_session_of_what_was_asked() {
        let followed = followed();
        let dial = Dial {
            target: Some("db.corp:5432".parse().unwrap()),
            peer: Some("10.9.9.9:5432".parse().unwrap()),
            result: OpenResult::Ok,
            detail: String::new(),
            start: followed.start,
            took: Duration::from_millis(3),
        };
        let dial = followed.dial(&dial);
        let end = End { outcome: CLOSED, up: 5, down: 9, ..End::default() };
        let session = followed.session(&end, followed.start + Duration::from_secs(1));
        assert_eq!(session.parent, Some(SpanId::asked(TRACE, 5, 42)));
        assert_eq!(dial.parent, Some(session.id));
        assert_eq!(dial.end, followed.start + Duration::from_millis(3));
        assert_eq!((session.failure.is_none(), dial.failure.is_none()), (true, true));
        assert_eq!(told(&dial, "server.address"), Some("db.corp".into()));
        assert_eq!(told(&dial, "network.peer.address"), Some("10.9.9.9".into()));
        assert_eq!(told(&session, "client.address"), Some("10.1.2.3".into()));
        assert_eq!(told(&session, "warren.bytes.down"), Some(9_u64.into()));
    }

    #[test]
    fn only_what_is_somebodys_trouble_is_an_error() {
        let followed = followed();
        let failure = |end: End| followed.session(&end, followed.start).failure;
        assert_eq!(failure(End::cancelled()), None);
        assert_eq!(failure(End::refused(OpenResult::Denied, "by the site")), Some("by the site".into()));
        assert_eq!(failure(End { outcome: "tunnel_lost", ..End::default() }), Some("tunnel_lost".into()));
        assert_eq!(failure(End { outcome: "caller_gone", ..End::default() }), None);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_span_end_before_it_began() {
        let followed = followed();
        let span = followed.session(&End::cancelled(), SystemTime::UNIX_EPOCH);
        assert_eq!(span.end, span.start);
    }
}
