//! `/metrics`, `/livez` and `/readyz` on an address of their own.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    exit::{Exit, Failure},
    telemetry::Telemetry,
};

/// Connections at once; a scraper beyond them waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
const HEADER: Duration = Duration::from_secs(5);
/// A scraper that keeps its connection dials again after this.
const CONNECTION: Duration = Duration::from_secs(300);
/// Histograms are folded this often even when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// After accept failed, which means that something ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether new work may be sent here: it may when nothing stands against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// What stands against it, for people.
    pub(crate) against: Vec<String>,
}

/// A bound address that does not answer yet.
#[derive(Debug)]
pub(crate) struct Observer {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Observer {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let failed = || Failure::new(Exit::Failed, format!("cannot listen for metrics on {address}"));
        let listener = TcpListener::bind(address).await.map_err(|error| failed().because(error))?;
        let address = listener.local_addr().map_err(|error| failed().because(error))?;
        Ok(Self { listener, address })
    }

    /// Answers until the returned task is dropped.
    pub(crate) fn serve(self, telemetry: Telemetry, readiness: watch::Receiver<Readiness>) -> Serving {
        let router = router(telemetry.clone(), readiness);
        let accepting = tokio::spawn(accept(self.listener, router));
        let folding = tokio::spawn(async move {
            loop {
                sleep(UPKEEP).await;
                telemetry.upkeep();
            }
        });
        Serving([accepting, folding])
    }
}

/// Ends what it holds when it is dropped.
#[derive(Debug)]
pub(crate) struct Serving([JoinHandle<()>; 2]);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn router(telemetry: Telemetry, readiness: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(telemetry))
}

async fn readyz(State(readiness): State<watch::Receiver<Readiness>>) -> impl IntoResponse {
    let readiness = readiness.borrow().clone();
    let status = if readiness.against.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.to_string())
}

async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry.render())
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            serve_one(stream, router).await;
            drop(place);
        });
    }
}

async fn serve_one(stream: TcpStream, router: Router) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(CONNECTION, connection).await {
        tracing::debug!(%error, "a connection for metrics ended early");
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.against.is_empty() {
            return f.write_str("ready\n");
        }
        self.against.iter().try_for_each(|reason| writeln!(f, "not ready: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_what_stands_against_it() {
        let observer = Observer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = observer.address;
        let (sender, readiness) = watch::channel(Readiness { against: vec!["no tunnel is verified".into()] });
        let serving = observer.serve(Telemetry::detached(), readiness);
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("not ready: no tunnel"), "{answer}");
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        sender.send_replace(Readiness::default());
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("version=0.0.4"), "{answer}");
        assert!(ask(address, "/other").await.starts_with("HTTP/1.1 404"));
        drop(serving);
    }
}
