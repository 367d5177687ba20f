use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, transport::Server};
use tracing::subscriber::DefaultGuard;
use warren_core::{
    id::GatewayId,
    trace::{Kind, SpanId, TraceId},
};
use warren_identity::{
    Authority, SwappableKey, Trust,
    authority::GATEWAY_LIFETIME,
    tls::{failure_reason, gateway_server},
};

use super::{reach::Https, *};

const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that keeps what it gets; or answers with an error for as long as it has one.
#[derive(Debug, Clone, Default)]
struct Collector {
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// Of each message that came, taken or not.
    tokens: Arc<Mutex<Vec<String>>>,
    refuses: Arc<Mutex<Option<Status>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get("authorization").map(|token| token.to_str().unwrap().to_owned());
        self.tokens.lock().unwrap().extend(token);
        if let Some(status) = self.refuses.lock().unwrap().clone() {
            return Err(status);
        }
        self.got.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn serve(&self, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let serving = tokio::spawn(async move {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        (address, serving)
    }

    /// Behind TLS at 127.0.0.1, under a certificate of `authority`.
    async fn serve_https(&self, authority: &Authority) -> SocketAddr {
        let (plain, _) = self.serve("127.0.0.1:0".parse().unwrap()).await;
        let (names, id) = (["127.0.0.1".to_owned()], GatewayId::from_random(1));
        let (issued, key) = authority.issue_gateway(id, &names, SystemTime::now(), GATEWAY_LIFETIME).unwrap();
        let (key, trust) =
            (SwappableKey::new(&issued.pem, key.to_rustls()), Trust::from_pem(&authority.bundle_pem()));
        let acceptor = TlsAcceptor::from(gateway_server(key.unwrap(), trust.unwrap(), &["h2"]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that does not trust the certificate ends here.
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut inner = TcpStream::connect(plain).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut inner).await });
            }
        });
        address
    }

    fn last_token(&self) -> Option<String> {
        self.tokens.lock().unwrap().last().cloned()
    }

    fn spans(&self) -> usize {
        let got = self.got.lock().unwrap();
        got.iter().flat_map(|request| &request.resource_spans[0].scope_spans).map(|all| all.spans.len()).sum()
    }

    async fn has(&self, spans: usize) {
        let arrived = async {
            while self.spans() < spans {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, arrived).await.unwrap_or_else(|_| panic!("{} of {spans} spans", self.spans()));
    }
}

fn otlp(address: SocketAddr) -> Otlp {
    Otlp { url: Some(format!("http://{address}").parse().unwrap()), ..Otlp::default() }
}

fn tell(tracer: &Tracer, count: usize) {
    let (trace, now) = (TraceId([7; 16]), SystemTime::now());
    for number in 0..count as u64 {
        tracer.tell(Span {
            trace,
            id: SpanId::asked(trace, 1, number),
            parent: None,
            name: "session",
            kind: Kind::Server,
            start: now,
            end: now,
            attributes: Vec::new(),
            failure: None,
        });
    }
}

/// Nobody listens there.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn started(address: SocketAddr) -> (Tracer, Exporting) {
    started_as(&otlp(address))
}

fn started_as(otlp: &Otlp) -> (Tracer, Exporting) {
    let (tracer, exporter) = set_up(otlp).unwrap();
    (tracer, exporter.unwrap().start(Resource::new("warren-test", "1")))
}

/// All that this thread logs, libraries too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn kept() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn has(&self, line: &str) {
        let told = async {
            while !self.text().contains(line) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("no `{line}` in {}", self.text()));
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A root that nobody else trusts, and its file.
fn authority(folder: &Path, name: &str) -> (Authority, std::path::PathBuf) {
    let (authority, file) = (Authority::generate(SystemTime::now()).unwrap(), folder.join(name));
    fs::write(&file, authority.bundle_pem()).unwrap();
    (authority, file)
}

#[tokio::test]
async fn without_a_collector_nothing_is_followed() {
    let (tracer, exporter) = set_up(&Otlp::default()).unwrap();
    assert!(!tracer.follows(TraceId([7; 16])) && exporter.is_none());
}

#[tokio::test]
async fn spans_go_in_batches_and_the_last_ones_at_the_end() {
    let collector = Collector::default();
    let (address, _serving) = collector.serve("127.0.0.1:0".parse().unwrap()).await;
    let (tracer, exporting) = started(address);
    tell(&tracer, BATCH_MAX + 1);
    collector.has(BATCH_MAX).await;
    tell(&tracer, 2);
    exporting.finish(&CancellationToken::new()).await;
    assert_eq!(collector.spans(), BATCH_MAX + 3);
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_what_waited() {
    let (collector, address) = (Collector::default(), nowhere().await);
    let (tracer, exporting) = started(address);
    tell(&tracer, 3);
    // The first try has failed by then.
    sleep(FILL_WITHIN + Duration::from_millis(200)).await;
    let _serving = collector.serve(address).await;
    collector.has(3).await;
    exporting.finish(&CancellationToken::new()).await;
}

#[tokio::test]
async fn while_the_collector_is_away_no_more_waits_than_there_is_room_for() {
    let (tracer, exporting) = started(nowhere().await);
    let begun = Instant::now();
    tell(&tracer, QUEUE_MAX * 3);
    assert!(begun.elapsed() < Duration::from_secs(1), "telling never waits");
    exporting.finish(&CancellationToken::new()).await;
    assert!(begun.elapsed() < FLUSH_WITHIN + Duration::from_secs(1), "nor does the end for long");
}

#[tokio::test]
async fn what_is_refused_for_good_makes_room_for_the_next() {
    let collector = Collector::default();
    let (address, _serving) = collector.serve("127.0.0.1:0".parse().unwrap()).await;
    *collector.refuses.lock().unwrap() = Some(Status::invalid_argument("no such thing"));
    let (tracer, exporting) = started(address);
    tell(&tracer, 1);
    sleep(FILL_WITHIN + Duration::from_millis(500)).await;
    *collector.refuses.lock().unwrap() = None;
    tell(&tracer, 2);
    collector.has(2).await;
    exporting.finish(&CancellationToken::new()).await;
    assert_eq!(collector.spans(), 2, "the first was not sent again");
}

#[tokio::test]
async fn a_collector_that_hangs_is_not_waited_for_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tracer, exporting) = started(listener.local_addr().unwrap());
    tell(&tracer, BATCH_MAX);
    let begun = Instant::now();
    exporting.finish(&CancellationToken::new()).await;
    assert!(begun.elapsed() < FLUSH_WITHIN + Duration::from_secs(1));
}

#[tokio::test]
async fn a_collector_of_a_root_of_its_own_gets_spans_with_the_token_of_the_hour() {
    let (log, _logging) = Log::kept();
    let folder = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(folder.path(), "ca.pem");
    let token = folder.path().join("token");
    fs::write(&token, "Bearer hush-1\n").unwrap();
    let collector = Collector::default();
    let address = collector.serve_https(&authority).await;
    let header = format!("authorization=@{}", token.display()).parse().unwrap();
    let (tracer, exporting) = started_as(&Otlp {
        url: Some(format!("https://{address}").parse().unwrap()),
        ca: Some(ca),
        headers: vec![header],
        ..Otlp::default()
    });
    tell(&tracer, 1);
    collector.has(1).await;
    assert_eq!(collector.last_token().as_deref(), Some("Bearer hush-1"));

    // Replaced as a mounted Secret is, and it counts from the next message.
    fs::write(folder.path().join("new"), "Bearer hush-2").unwrap();
    fs::rename(folder.path().join("new"), &token).unwrap();
    tell(&tracer, 1);
    collector.has(2).await;
    assert_eq!(collector.last_token().as_deref(), Some("Bearer hush-2"));

    // While there is none, nothing goes without it.
    fs::remove_file(&token).unwrap();
    tell(&tracer, 1);
    log.has(&format!("cannot read the value of `authorization` in `{}`", token.display())).await;
    assert_eq!(collector.tokens.lock().unwrap().len(), 2);
    fs::write(&token, "Bearer hush-3").unwrap();
    collector.has(3).await;
    log.has("spans are exported again").await;

    // A collector that says what it was told is not repeated.
    *collector.refuses.lock().unwrap() = Some(Status::unauthenticated("nobody knows hush-3"));
    tell(&tracer, 1);
    log.has("nobody knows …").await;
    exporting.finish(&CancellationToken::new()).await;
    assert_eq!(collector.last_token().as_deref(), Some("Bearer hush-3"));
    let text = log.text();
    assert!(text.contains("TRACE") && text.contains("h2::"), "libraries were heard as well");
    assert!(!text.contains("hush"), "{text}");
}

#[tokio::test]
async fn a_collector_of_another_root_gets_nothing() {
    let (log, _logging) = Log::kept();
    let folder = tempfile::tempdir().unwrap();
    let (_, other) = authority(folder.path(), "other.pem");
    let (authority, ca) = authority(folder.path(), "ca.pem");
    let collector = Collector::default();
    let address = collector.serve_https(&authority).await;
    let url: warren_core::trace::Collector = format!("https://{address}").parse().unwrap();
    assert!(Https::new(&url, Some(&ca)).unwrap().connect().await.is_ok());
    // A machine without roots of its own trusts nobody at all.
    let ways = [Https::new(&url, Some(&other)).ok(), Https::new(&url, None).ok()];
    assert!(ways[0].is_some());
    for way in ways.iter().flatten() {
        assert_eq!(failure_reason(&way.connect().await.unwrap_err()), "unknown_issuer");
    }

    let (tracer, exporting) = started_as(&Otlp { url: Some(url), ca: Some(other), ..Otlp::default() });
    tell(&tracer, 1);
    log.has("invalid peer certificate").await;
    exporting.finish(&CancellationToken::new()).await;
    assert_eq!(collector.spans(), 0);
}

#[tokio::test]
async fn headers_that_others_can_read_are_warned_of_once() {
    for (url, lines) in [("http://192.0.2.1", 1), ("http://127.0.0.1", 0)] {
        let (log, _logging) = Log::kept();
        let headers = vec!["authorization=hush".parse().unwrap()];
        let otlp = Otlp { url: Some(url.parse().unwrap()), headers, ..Otlp::default() };
        set_up(&otlp).unwrap();
        let text = log.text();
        assert_eq!(text.matches("WARN").count(), lines, "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
