//! The port that other members call.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};
use warren_core::id::GroupId;
use warren_group::{Caller, Group};
use warren_identity::{PeerIdentity, TlsError, tls};

use super::ALPN;
use crate::{cloud::causes, identity::Identity, metrics};

/// A stranger has this long to prove that it is a member.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Handshakes at once; one more cuts the oldest. A member is done in milliseconds: it gets through a crowd of silent
/// strangers, who would keep it out for long if the newest were cut.
const HANDSHAKES_MAX: usize = 256;
/// How often a quiet connection is asked whether its member is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A connection is made anew after this long, so that certificates are looked at again.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Connections whose handshake is done and that wait to be served.
const READY_MAX: usize = 16;

/// Accepts members and serves the group's Peer service to them.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Arc<ServerConfig>,
    group_id: GroupId,
}

impl Listener {
    /// Binds `address`. When that has port 0, `remembered` is tried first, so that a restarted member is found where it
    /// was.
    pub(crate) async fn bind(address: SocketAddr, remembered: Option<u16>) -> io::Result<TcpListener> {
        if let Some(port) = remembered.filter(|_| address.port() == 0) {
            match TcpListener::bind(SocketAddr::new(address.ip(), port)).await {
                Ok(socket) => return Ok(socket),
                Err(error) => tracing::warn!(port, %error, "earlier peer port is taken, picking another"),
            }
        }
        TcpListener::bind(address).await
    }

    pub(crate) fn new(socket: TcpListener, identity: &Identity) -> Result<Self, TlsError> {
        let group_id = identity.facts.group;
        let tls = tls::peer_server(identity.shown.clone(), identity.peers.clone(), group_id, ALPN)?;
        Ok(Self { socket, tls, group_id })
    }

    /// Serves until `stop`, then cuts the connections.
    pub(crate) async fn run(self, group: Group, stop: CancellationToken) {
        let (ready, connections) = mpsc::channel(READY_MAX);
        let serving = Server::builder()
            .max_connection_age(CONNECTION_AGE_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(group.service())
            .serve_with_incoming(ReceiverStream::new(connections));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.accept(ready, stop.clone()) => {}
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(error = causes(&error), "peer service stopped");
                }
            }
        }
    }

    async fn accept(&self, ready: mpsc::Sender<io::Result<PeerStream>>, stop: CancellationToken) {
        let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let (socket, from) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors most likely: accepting again at once would only spin.
                    tracing::warn!(%error, "cannot accept a peer");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            handshakes.retain(|handshake| !handshake.is_finished());
            if handshakes.len() == HANDSHAKES_MAX
                && let Some(oldest) = handshakes.pop_front()
            {
                oldest.abort();
                refused("too_many", from, "too many handshakes at once, the oldest is cut");
            }
            let (acceptor, ready) = (TlsAcceptor::from(self.tls.clone()), ready.clone());
            let (group, stop) = (self.group_id, stop.clone());
            let handshake = tokio::spawn(async move {
                match timeout(HANDSHAKE_WITHIN, shake(acceptor, socket, group, stop)).await {
                    // The server is gone, and with it the need.
                    Ok(Ok(stream)) => _ = ready.send(Ok(stream)).await,
                    Ok(Err(error)) => refused(tls::failure_reason(&error), from, &causes(&error)),
                    Err(_) => refused("timeout", from, "handshake took too long"),
                }
            });
            handshakes.push_back(handshake.abort_handle());
        }
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    group: GroupId,
    stop: CancellationToken,
) -> io::Result<PeerStream> {
    socket.set_nodelay(true)?;
    let stream = acceptor.accept(socket).await?;
    let chain = stream.get_ref().1.peer_certificates();
    let peer = PeerIdentity::from_chain(chain, SystemTime::now()).map_err(io::Error::other)?;
    peer.expect_group(group).map_err(io::Error::other)?;
    let caller = Caller { group: peer.group, agent: peer.agent };
    Ok(PeerStream { stream, caller, stopped: Box::pin(stop.cancelled_owned()) })
}

fn refused(reason: &'static str, from: SocketAddr, detail: &str) {
    ::metrics::counter!(metrics::PEERS_REFUSED_TOTAL, "reason" => reason).increment(1);
    tracing::debug!(%from, reason, detail, "peer refused");
}

/// A connection of a known member. Breaks when the listener is stopped, wherever it has got to.
struct PeerStream {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    stopped: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
}

/// What tonic puts into the extensions of each request, where the group's service looks for it.
impl Connected for PeerStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
