//! The gateway's one port: TLS 1.3 with or without a client certificate, then tunnels, enrolment and the admin API.
//!
//! Anybody on the network reaches this, so nothing here waits for anybody. The accept loop only accepts. A handshake has
//! a deadline and a place; when all places are taken the oldest handshake loses its place, so that many who say nothing
//! cannot keep out one who does. A connection that asks for nothing is closed.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use http_body_util::Limited;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, trace};
use warren_identity::{IdentityError, PeerIdentity, tls::failure_reason};
use warren_tunnel::upgrade;

use crate::{
    admin::Caller,
    ingress::accept,
    metrics::{Rejected, rejected},
    tunnels::Tunnels,
};

mod places;

use places::{Place, Places};

/// What the port speaks.
pub const ALPN: &[&str] = &["h2", "http/1.1"];

/// The first request of a connection, and the rest of a request's head, must come within this time.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// No call of the API takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// An HTTP/2 connection that does not answer a ping is closed.
const PING_EVERY: Duration = Duration::from_secs(20);
const CALLS_PER_CONNECTION_MAX: u32 = 128;
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// Limits of the port.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// TLS handshakes at once; the oldest gives way.
    pub handshakes_max: usize,
    /// Connections at once, tunnels not counted; more are closed.
    pub connections_max: usize,
    /// A handshake must be done within this time. Default 5 s.
    pub handshake_within: Duration,
}

/// Serves the port. `run` it.
pub struct Front {
    tls: TlsAcceptor,
    router: Router,
    tunnels: Tunnels,
    limits: ListenerLimits,
    places: Places,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Who is at the other end of a connection.
struct Peer {
    address: SocketAddr,
    identity: Result<PeerIdentity, IdentityError>,
}

impl Front {
    pub fn new(
        tls: Arc<ServerConfig>,
        router: Router,
        tunnels: Tunnels,
        limits: ListenerLimits,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let places = Places::new(limits.handshakes_max);
        let room = Arc::new(Semaphore::new(limits.connections_max));
        Arc::new(Self { tls: tls.into(), router, tunnels, limits, places, room, stop })
    }

    /// Accepts until `stop`; then lets requests that are being answered end.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        let tasks = TaskTracker::new();
        let stop = self.stop.clone();
        let take = |socket: TcpStream, from| {
            let Ok(permit) = self.room.clone().try_acquire_owned() else {
                return rejected(Rejected::ConnectionsFull);
            };
            let (front, place) = (self.clone(), self.places.take());
            tasks.spawn(async move {
                front.serve(socket, from, place).await;
                drop(permit);
            });
        };
        accept::run(&listener, take, &stop).await;
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    async fn serve(self: Arc<Self>, socket: TcpStream, from: SocketAddr, mut place: Place) {
        let handshake = tokio::select! {
            done = timeout(self.limits.handshake_within, self.tls.accept(socket)) => done,
            () = place.lost() => return rejected(Rejected::HandshakeEvicted),
            () = self.stop.cancelled() => return,
        };
        drop(place);
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                rejected(Rejected::HandshakeFailed(failure_reason(&error)));
                return debug!(%from, error = &error as &dyn Error, "TLS handshake failed");
            }
            Err(_) => return rejected(Rejected::HandshakeTimeout),
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let identity = PeerIdentity::from_chain(certificates, SystemTime::now());
        self.speak(stream, Peer { address: from, identity }).await;
    }

    async fn speak(self: Arc<Self>, stream: TlsStream<TcpStream>, peer: Peer) {
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(ASK_WITHIN);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(ASK_WITHIN)
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX);
        let builder = if is_h2 { builder.http2_only() } else { builder.http1_only() };
        let asked = Arc::new(AtomicBool::new(false));
        let (front, from) = (self.clone(), peer.address);
        let (peer, has_asked) = (Arc::new(peer), asked.clone());
        let service = service_fn(move |request| {
            has_asked.store(true, Relaxed);
            let (front, peer) = (front.clone(), peer.clone());
            async move { Ok::<_, Infallible>(front.answer(request, &peer).await) }
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let silent = async {
            sleep(ASK_WITHIN).await;
            if asked.load(Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silent => return rejected(Rejected::Silent),
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(ASK_WITHIN, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            trace!(%from, error = &*error, "connection ended with an error");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        if request.uri().path() == upgrade::PATH {
            let identity = peer.identity.as_ref().map_err(IdentityError::clone);
            return self.tunnels.answer(&mut request, identity).await;
        }
        request.extensions_mut().insert(Caller { address: peer.address, identity: peer.identity.clone() });
        let request = request.map(|body| Body::new(Limited::new(body, REQUEST_BYTES_MAX)));
        match timeout(ANSWER_WITHIN, self.router.clone().oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                let mut response = Response::new(Body::from("took too long\n"));
                *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                response
            }
        }
    }
}
