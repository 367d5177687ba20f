//! Connections to other members.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use warren_core::id::AgentId;
use warren_group::PeerDialer;
use warren_identity::{TlsError, authority::agent_server_name, tls};

use super::ALPN;
use crate::identity::Identity;

/// For TCP and TLS together: members are near each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How often a quiet connection is asked whether it is there, and how long it may think.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Dials members by mutual TLS under the addressee's own name: whoever else has taken its address is refused.
#[derive(Debug)]
pub(crate) struct Dialer {
    tls: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(identity: &Identity) -> Result<Self, TlsError> {
        let (key, roots) = (identity.shown.clone(), identity.peers.clone());
        Ok(Self { tls: tls::peer_client(key, roots, identity.facts.group, ALPN)? })
    }
}

impl PeerDialer for Dialer {
    fn channel(&self, peer: AgentId, address: &str) -> Channel {
        let (tls, address) = (self.tls.clone(), address.to_owned());
        // The name is for the :authority header only; the connector knows where to go.
        Endpoint::from_static("http://peer.warren.internal")
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(service_fn(move |_| {
                let (tls, address) = (tls.clone(), address.clone());
                async move {
                    let connected = timeout(CONNECT_WITHIN, connect(tls, peer, &address)).await;
                    let late = |_| {
                        io::Error::new(io::ErrorKind::TimedOut, format!("{peer} at {address} did not answer"))
                    };
                    Ok::<_, io::Error>(TokioIo::new(connected.map_err(late)??))
                }
            }))
    }
}

async fn connect(tls: Arc<ClientConfig>, peer: AgentId, address: &str) -> io::Result<TlsStream<TcpStream>> {
    // Resolved at each dial: addresses of members move.
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    TlsConnector::from(tls).connect(agent_server_name(peer), socket).await
}
