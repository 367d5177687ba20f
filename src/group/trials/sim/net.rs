//! gRPC over the simulated network, with the settings of the agent's own connections.

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint, server::Connected};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};
use warren_core::id::AgentId;

use crate::PeerDialer;

pub(super) const PORT: u16 = 7_000;
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
pub(super) const KEEPALIVE: Duration = Duration::from_secs(2);

/// Tells who calls by the user agent, in place of a certificate.
#[derive(Debug)]
pub(super) struct Dialer(pub(super) AgentId);

impl PeerDialer for Dialer {
    fn channel(&self, _: AgentId, address: &str) -> Channel {
        let address = address.to_owned();
        let endpoint = Endpoint::from_static("http://peer.warren.internal").user_agent(self.0.to_string());
        endpoint
            .unwrap()
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(service_fn(move |_| {
                let address = address.clone();
                async move {
                    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
                    Ok::<_, io::Error>(TokioIo::new(connected.map_err(|_| io::ErrorKind::TimedOut)??))
                }
            }))
    }
}

/// A connection that a member has taken.
#[derive(Debug)]
pub(super) struct Accepted(TcpStream);

pub(super) async fn listen() -> io::Result<impl Stream<Item = io::Result<Accepted>>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    Ok(stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    }))
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
