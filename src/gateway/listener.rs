//! The gateway's one port: TLS 1.3 with or without a client certificate, then tunnels, enrolment and the admin API.
//!
//! Anybody on the network reaches this, so nothing here waits for anybody. The accept loop only accepts. A handshake has
//! a deadline and a place; when all places are taken the oldest handshake loses its place, so that many who say nothing
//! cannot keep out one who does. A connection that asks for nothing is closed, and so, in the end, is one that asks but
//! never shows who asks: until then it has a place among the strangers, which goes to newer ones in the same way.

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
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, trace};
use warren_identity::{GatewayIdentity, IdentityError, PeerIdentity, tls::failure_reason};
use warren_tunnel::{tls::TlsStream, upgrade};

use crate::{
    admin::Caller,
    ingress::accept,
    metrics::{Rejected, rejected},
    neighbours::Guests,
    tunnels::Tunnels,
};

mod places;

use places::{Place, Places};

/// What the port speaks.
pub const ALPN: &[&str] = &["h2", "http/1.1"];

/// The first request of a connection, and the rest of a request's head, must come within this time.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// A connection whose caller is not known by then may end its calls and is closed: enough for an enrolment.
const STRANGER_WITHIN: Duration = Duration::from_secs(15);
/// No call of the API takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// An HTTP/2 connection that does not answer a ping is closed.
const PING_EVERY: Duration = Duration::from_secs(20);
const CALLS_PER_CONNECTION_MAX: u32 = 128;
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// A request's head, the only part of it that is kept before it is known who asks.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Limits of the port.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// TLS handshakes at once; the oldest gives way.
    pub handshakes_max: usize,
    /// Connections at once, tunnels not counted; more are closed. Half of them may be strangers'.
    pub connections_max: usize,
    /// A handshake must be done within this time. Default 5 s.
    pub handshake_within: Duration,
}

/// Serves the port. `run` it.
pub struct Front {
    tls: Arc<ServerConfig>,
    router: Router,
    tunnels: Tunnels,
    guests: Guests,
    limits: ListenerLimits,
    places: Places,
    strangers: Places,
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
    caller: Caller,
    /// One of those on the same store.
    gateway: Option<GatewayIdentity>,
    /// Something was asked.
    asked: AtomicBool,
}

impl Front {
    pub(crate) fn new(
        tls: Arc<ServerConfig>,
        router: Router,
        (tunnels, guests): (Tunnels, Guests),
        limits: ListenerLimits,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let places = Places::new(limits.handshakes_max);
        let strangers = Places::new(limits.connections_max / 2);
        let room = Arc::new(Semaphore::new(limits.connections_max));
        Arc::new(Self { tls, router, tunnels, guests, limits, places, strangers, room, stop })
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
            done = timeout(self.limits.handshake_within, TlsStream::accept(self.tls.clone(), socket)) => done,
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
        let certificates = stream.session().peer_certificates();
        let identity = PeerIdentity::from_chain(certificates, SystemTime::now());
        let caller = Caller { address: from, standing: Default::default(), identity };
        let gateway = GatewayIdentity::from_chain(certificates);
        self.speak(stream, Peer { caller, gateway, asked: AtomicBool::new(false) }).await;
    }

    async fn speak(self: Arc<Self>, stream: TlsStream, peer: Peer) {
        let is_h2 = stream.session().alpn_protocol() == Some(b"h2");
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(ASK_WITHIN).max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(ASK_WITHIN)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX);
        let builder = if is_h2 { builder.http2_only() } else { builder.http1_only() };
        let peer = Arc::new(peer);
        let (front, asking) = (self.clone(), peer.clone());
        let service = service_fn(move |request| {
            asking.asked.store(true, Relaxed);
            let (front, peer) = (front.clone(), asking.clone());
            async move { Ok::<_, Infallible>(front.answer(request, &peer).await) }
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            patience = patience(&self.strangers, &peer) => {
                rejected(patience.rejected());
                if patience != Patience::Late {
                    return;
                }
                None
            }
            () = self.stop.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = timeout(ASK_WITHIN, connection).await else { return };
                ended
            }
        };
        if let Err(error) = ended {
            trace!(from = %peer.caller.address, error = &*error, "connection ended with an error");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        if request.uri().path() == upgrade::PATH {
            if let Some(gateway) = &peer.gateway {
                return self.guests.answer(&mut request, gateway, self.router.clone()).await;
            }
            let identity = peer.caller.identity.as_ref().map_err(IdentityError::clone);
            return self.tunnels.answer(&mut request, identity).await;
        }
        request.extensions_mut().insert(peer.caller.clone());
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

/// Resolves when a stranger has been borne for long enough; never once it is known who calls.
async fn patience(strangers: &Places, peer: &Peer) -> Patience {
    let mut place = strangers.take();
    let too_long = async {
        sleep(ASK_WITHIN).await;
        if !peer.asked.load(Relaxed) {
            return Patience::Silent;
        }
        sleep(STRANGER_WITHIN - ASK_WITHIN).await;
        Patience::Late
    };
    tokio::select! {
        () = peer.caller.standing.known() => {}
        () = place.lost() => return Patience::Crowded,
        patience = too_long => return patience,
    }
    drop(place);
    std::future::pending().await
}

/// Why it is over with a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Silent,
    /// It gave way to a newer one.
    Crowded,
    Late,
}

impl Patience {
    fn rejected(self) -> Rejected {
        match self {
            Self::Silent => Rejected::Silent,
            Self::Crowded | Self::Late => Rejected::Stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(asked: bool) -> Peer {
        let caller = Caller {
            address: ([192, 0, 2, 1], 1).into(),
            standing: Default::default(),
            identity: Err(IdentityError::NoCertificate),
        };
        Peer { caller, gateway: None, asked: asked.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_borne_for_a_while_and_those_who_are_known_for_ever() {
        let strangers = Places::new(9);
        let begun = tokio::time::Instant::now();
        assert_eq!(patience(&strangers, &peer(false)).await, Patience::Silent);
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert_eq!(patience(&strangers, &peer(true)).await, Patience::Late);
        assert_eq!(begun.elapsed().as_secs(), 20);
        let known = peer(true);
        known.caller.standing.prove();
        assert!(timeout(Duration::from_secs(600), patience(&strangers, &known)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_gives_way_to_newer_ones_and_who_is_known_does_not() {
        let strangers = Places::new(1);
        let (known, first, second) = (peer(true), peer(true), peer(true));
        known.caller.standing.prove();
        let outcome = tokio::join!(
            timeout(Duration::from_secs(60), patience(&strangers, &known)),
            patience(&strangers, &first),
            patience(&strangers, &second)
        );
        assert!(outcome.0.is_err());
        assert_eq!((outcome.1, outcome.2), (Patience::Crowded, Patience::Late));
    }
}
