use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, transport::Server};
use warren_core::trace::{Kind, Sample, SpanId, TraceId};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that keeps what it gets; or answers with an error for as long as it has one.
#[derive(Debug, Clone, Default)]
struct Collector {
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    refuses: Arc<Mutex<Option<Status>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
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
    Otlp { url: Some(format!("http://{address}").parse().unwrap()), sample: Sample::ALL }
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
    let (tracer, exporter) = set_up(&otlp(address)).unwrap();
    (tracer, exporter.unwrap().start(Resource::new("warren-test", "1")))
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
