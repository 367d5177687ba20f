//! From the record of a session to the spans that tell of it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use warren_core::{
    id::GatewayId,
    trace::{Kind, Span, SpanId, TraceId, Tracer, Value},
};
use warren_tunnel::{OpenResult, ResetReason};

use crate::sessions::{Attempt, Failure, Outcome, SessionRecord};

/// Tells a gateway's spans. Cheap to clone; by default nothing is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans {
    tracer: Tracer,
    gateway: Option<GatewayId>,
}

/// A session's record, and what else its spans need.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) record: SessionRecord,
    /// What its group is called.
    pub(crate) group: Arc<str>,
    /// The span of the gateway that passed its caller on.
    pub(crate) asked: Option<SpanId>,
}

/// Another gateway was asked to carry a caller.
#[derive(Debug)]
pub(crate) struct PassedOn {
    pub(crate) to: GatewayId,
    /// What the session is called in the tunnel there, unless it came to none.
    pub(crate) number: Option<u64>,
    pub(crate) result: &'static str,
    pub(crate) start: SystemTime,
    pub(crate) took: Duration,
}

impl Spans {
    pub(crate) fn new(tracer: Tracer, gateway: GatewayId) -> Self {
        Self { tracer, gateway: Some(gateway) }
    }

    pub(crate) fn follows(&self, trace: [u8; 16]) -> bool {
        self.tracer.follows(TraceId(trace))
    }

    /// What came before the session was open; it may be so for days.
    pub(crate) fn opened(&self, story: &Story) {
        let attempts = &story.record.attempts;
        for (place, attempt) in attempts.iter().enumerate() {
            self.tracer.tell(story.attempt(attempt, place, self.gateway));
        }
    }

    pub(crate) fn ended(&self, story: &Story) {
        self.tracer.tell(story.session(self.gateway));
    }

    pub(crate) fn passed_on(&self, trace: TraceId, record: u64, asked: &PassedOn) {
        self.tracer.tell(asked.span(trace, record, number(self.gateway)));
    }
}

impl Story {
    /// The session itself.
    fn session(&self, gateway: Option<GatewayId>) -> Span {
        let record = &self.record;
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("warren.group", (&*self.group).into()),
            ("warren.group.id", record.group.to_string().into()),
            ("warren.resource", record.resource.as_str().into()),
            ("warren.session", record.id.into()),
            ("warren.outcome", record.outcome.as_str().into()),
            ("warren.bytes.up", record.bytes_up.into()),
            ("warren.bytes.down", record.bytes_down.into()),
            ("warren.tries", (record.attempts.len() as u64).into()),
            ("client.address", record.caller.ip().to_string().into()),
            ("client.port", u64::from(record.caller.port()).into()),
        ];
        let optional = [
            ("warren.gateway", gateway.map(|gateway| gateway.to_string())),
            ("warren.member.id", record.member.map(|member| member.to_string())),
            ("warren.member", Some(record.member_name.clone())),
            ("warren.detail", Some(record.detail.clone())),
        ];
        let told = optional.into_iter().filter_map(|(key, text)| Some((key, text?)));
        attributes.extend(told.filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key, text.into())));
        let failed = is_error(record.outcome);
        if failed {
            attributes.push(("error.type", record.outcome.as_str().into()));
        }
        let failure = failed.then(|| match record.detail.as_str() {
            "" => record.outcome.as_str().to_owned(),
            detail => detail.to_owned(),
        });
        Span {
            trace: self.trace(),
            id: self.id(),
            parent: self.asked,
            name: "session",
            kind: Kind::Server,
            start: record.opened,
            // The clock may have been set back meanwhile.
            end: record.closed.unwrap_or(record.opened).max(record.opened),
            attributes,
            failure,
        }
    }

    /// One try on a member; `place` is its place in the record.
    fn attempt(&self, attempt: &Attempt, place: usize, gateway: Option<GatewayId>) -> Span {
        let (trace, gateway) = (self.trace(), number(gateway));
        let id = match attempt.number {
            Some(number) => SpanId::asked(trace, gateway, number),
            None => SpanId::not_asked(trace, gateway, self.record.id, place as u64),
        };
        let start = self.record.opened + attempt.after;
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("warren.member.id", attempt.chosen.to_string().into()),
            ("warren.rule", attempt.rule.as_str().into()),
            ("warren.candidates", (attempt.candidates.len() as u64).into()),
            ("warren.result", attempt.result.into()),
        ];
        let failure = failure(attempt.result, &mut attributes);
        Span {
            trace,
            id,
            parent: Some(self.id()),
            name: "attempt",
            kind: Kind::Client,
            start,
            end: start + attempt.took,
            attributes,
            failure,
        }
    }

    fn id(&self) -> SpanId {
        match self.asked {
            Some(asked) => asked.answered(self.trace()),
            None => SpanId::root(self.trace()),
        }
    }

    fn trace(&self) -> TraceId {
        TraceId(self.record.trace)
    }
}

impl PassedOn {
    fn span(&self, trace: TraceId, record: u64, gateway: u64) -> Span {
        let id = match self.number {
            Some(number) => SpanId::asked(trace, gateway, number),
            // A caller is passed on more than once; what tells these apart is when.
            None => SpanId::not_asked(trace, gateway, record, nanos(self.start)),
        };
        let mut attributes: Vec<(&'static str, Value)> =
            vec![("warren.gateway", self.to.to_string().into()), ("warren.result", self.result.into())];
        let failure = failure(self.result, &mut attributes);
        Span {
            trace,
            id,
            // Only a caller of our own is passed on.
            parent: Some(SpanId::root(trace)),
            name: "pass_on",
            kind: Kind::Client,
            start: self.start,
            end: self.start + self.took,
            attributes,
            failure,
        }
    }
}

/// Whether it is somebody's trouble.
const fn is_error(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Open
            | Outcome::Closed
            | Outcome::Cut(ResetReason::CallerGone)
            | Outcome::NotOpened(Failure::CallerGone)
    )
}

/// What an attempt failed with, unless its caller went away.
fn failure(result: &'static str, attributes: &mut Vec<(&'static str, Value)>) -> Option<String> {
    let is_well = result == OpenResult::Ok.as_str() || result == Failure::CallerGone.as_str();
    (!is_well).then(|| {
        attributes.push(("error.type", result.into()));
        result.to_owned()
    })
}

fn number(gateway: Option<GatewayId>) -> u64 {
    gateway.map_or(0, GatewayId::number)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
