//! Spans as OTLP's messages.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource as ResourceMessage,
    trace::v1::{ResourceSpans, ScopeSpans, Span as SpanMessage, SpanFlags, Status, span, status},
};
use warren_core::trace::{Kind, Sample, Span, Value};

/// W3C's flags of a trace: it is followed, and its id is random.
const FOLLOWED_AND_RANDOM: u32 = 0b11;

/// Whose spans they are, by OpenTelemetry's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resource(Vec<KeyValue>);

impl Resource {
    /// `service` such as `warren-gateway`; `id` tells it from others of its kind.
    pub(crate) fn new(service: &str, id: &str) -> Self {
        Self(Vec::new())
            .with("service.name", service)
            .with("service.version", env!("CARGO_PKG_VERSION"))
            .with("service.instance.id", id)
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push(attribute(key, &value.into()));
        self
    }
}

/// One message with all of `spans`.
pub(super) fn request(resource: &Resource, sample: Sample, spans: &[Span]) -> ExportTraceServiceRequest {
    let state = trace_state(sample);
    let scope = InstrumentationScope {
        name: "warren".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let spans = spans.iter().map(|span| message(span, &state)).collect();
    let scoped = ScopeSpans { scope: Some(scope), spans, ..Default::default() };
    let resource = ResourceMessage { attributes: resource.0.clone(), ..Default::default() };
    let all = ResourceSpans { resource: Some(resource), scope_spans: vec![scoped], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![all] }
}

fn message(span: &Span, state: &str) -> SpanMessage {
    // Whoever was asked was so by another process.
    let is_remote = span.kind == Kind::Server && span.parent.is_some();
    let remote = if is_remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    SpanMessage {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        trace_state: state.to_owned(),
        flags: FOLLOWED_AND_RANDOM | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.to_owned(),
        kind: match span.kind {
            Kind::Server => span::SpanKind::Server,
            Kind::Client => span::SpanKind::Client,
        }
        .into(),
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        status: span
            .failure
            .as_ref()
            .map(|message| Status { message: message.clone(), code: status::StatusCode::Error.into() }),
        ..Default::default()
    }
}

/// What share of the traces is followed, so that whoever counts spans counts right.
fn trace_state(sample: Sample) -> String {
    match sample.threshold() {
        0 => String::new(),
        threshold => format!("ot=th:{}", format!("{threshold:014x}").trim_end_matches('0')),
    }
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Number(number) => any_value::Value::IntValue(i64::try_from(*number).unwrap_or(i64::MAX)),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warren_core::trace::{SpanId, TraceId};

    use super::*;

    #[test]
    fn a_span_is_written_as_the_protocol_wants_it() {
        let trace = TraceId([7; 16]);
        let span = Span {
            trace,
            id: SpanId::asked(trace, 1, 2).answered(trace),
            parent: Some(SpanId::asked(trace, 1, 2)),
            name: "session",
            kind: Kind::Server,
            start: UNIX_EPOCH + Duration::from_nanos(1_000_000_001),
            end: UNIX_EPOCH + Duration::from_secs(2),
            attributes: vec![("warren.resource", "db".into()), ("warren.bytes.up", u64::MAX.into())],
            failure: Some("away".into()),
        };
        let message = message(&span, "");
        assert_eq!((message.trace_id.len(), message.span_id.len(), message.parent_span_id.len()), (16, 8, 8));
        assert_eq!(message.kind(), span::SpanKind::Server);
        assert_eq!(
            (message.start_time_unix_nano, message.end_time_unix_nano),
            (1_000_000_001, 2_000_000_000)
        );
        assert_eq!(message.flags, 0x303, "followed, random, of another process");
        let status = message.status.unwrap();
        assert_eq!((status.code(), status.message.as_str()), (status::StatusCode::Error, "away"));
        let number = message.attributes[1].value.as_ref().unwrap().value.clone();
        assert_eq!(number, Some(any_value::Value::IntValue(i64::MAX)));
        let root = Span { parent: None, failure: None, ..span };
        let message = super::message(&root, "");
        assert_eq!((message.flags, message.parent_span_id.len(), message.status), (0x103, 0, None));
    }

    #[test]
    fn the_share_goes_along() {
        let state = |text: &str| trace_state(text.parse().unwrap());
        assert_eq!(
            (state("1").as_str(), state("0.5").as_str(), state("0.25").as_str()),
            ("", "ot=th:8", "ot=th:c")
        );
    }

    #[test]
    fn the_resource_says_who_it_is() {
        let resource = Resource::new("warren-agent", "agt-1").with("warren.group", "site-1");
        let request = request(&resource, Sample::ALL, &[]);
        let told = request.resource_spans[0].resource.as_ref().unwrap();
        let keys: Vec<_> = told.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys, ["service.name", "service.version", "service.instance.id", "warren.group"]);
    }
}
