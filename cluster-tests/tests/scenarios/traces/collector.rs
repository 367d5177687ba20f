//! A collector as OpenTelemetry's makers define it: it takes spans by gRPC and keeps them.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
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
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Listens until it is dropped.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    kept: Kept,
    runtime: Runtime,
}

#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Span>>>,
    /// The last token that each service sent.
    tokens: Arc<Mutex<BTreeMap<String, String>>>,
}

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
        Self { address, kept, runtime }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same collector on https, under a root of its own that is written to `root`.
    pub(super) fn https(&self, root: &Path) -> String {
        let acceptor = TlsAcceptor::from(Arc::new(tls(root)));
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (https, plain) = (listener.local_addr().unwrap(), self.address);
        self.runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever does not trust it ends here.
                    let Ok(mut outer) = acceptor.accept(socket).await else { return };
                    let mut inner = TcpStream::connect(plain).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
        format!("https://{https}")
    }

    /// The `authorization` that came last from `warren-gateway` or `warren-agent`.
    pub(super) fn token_of(&self, service: &str) -> Option<String> {
        self.kept.tokens.lock().unwrap().get(service).cloned()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap().clone()
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
        let token = request.metadata().get("authorization").map(|token| token.to_str().unwrap().to_owned());
        for all in request.into_inner().resource_spans {
            let resource = read(all.resource.unwrap_or_default().attributes);
            let service = resource["service.name"].clone();
            self.tokens.lock().unwrap().extend(token.clone().map(|token| (service, token)));
            let spans = all.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans.map(|span| Span::of(span, &resource)));
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

/// A certificate for loopback, of a new root.
fn tls(root: &Path) -> ServerConfig {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Roots of one name are taken for each other until a signature is checked.
    params.distinguished_name.push(DnType::CommonName, format!("root in {}", root.display()));
    fs::write(root, params.self_signed(&root_key).unwrap().pem()).unwrap();
    let (issuer, key) = (Issuer::new(params, root_key), KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
