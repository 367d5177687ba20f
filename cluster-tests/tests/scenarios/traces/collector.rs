//! A collector as OpenTelemetry's makers define it: it takes spans by gRPC and keeps them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as Message, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Listens until it is dropped.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    kept: Kept,
    _runtime: Runtime,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

/// A span as it came.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty when it has none.
    pub(super) parent: String,
    pub(super) kind: SpanKind,
    pub(super) is_error: bool,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) attributes: BTreeMap<String, String>,
    /// Of the process.
    pub(super) resource: BTreeMap<String, String>,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(super) fn start_at(address: SocketAddr) -> Self {
        let (kept, runtime) = (Kept::default(), Runtime::new().unwrap());
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(kept.clone());
        let serve = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        runtime.spawn(serve);
        Self { address, kept, _runtime: runtime }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.kept.0.lock().unwrap().clone()
    }

    pub(super) fn of_trace(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == trace).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for all in request.into_inner().resource_spans {
            let resource = read(all.resource.unwrap_or_default().attributes);
            let spans = all.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| Span::of(span, &resource)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Span {
    fn of(span: Message, resource: &BTreeMap<String, String>) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self {
            service: resource["service.name"].clone(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: span.kind(),
            is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            name: span.name,
            attributes: read(span.attributes),
            resource: resource.clone(),
        }
    }
}

fn read(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|one| (one.key, text(one.value.and_then(|value| value.value)))).collect()
}
