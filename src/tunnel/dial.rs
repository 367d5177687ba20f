//! The agent's side of making a tunnel: TCP, TLS 1.3, an HTTP/1.1 upgrade, and the raw stream taken back.

use std::{error::Error, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};

use crate::{tls::TlsStream, upgrade, websocket::accept_key};

mod error;
mod hops;
mod proxy;
mod race;
#[cfg(test)]
mod tests;

pub use error::{DialError, TlsFailure};
pub use hops::{Greeting, greet, secure};
pub use proxy::{Proxy, ProxyError, ProxyFailure, ProxyUrlError, ViaProxy};
pub use race::connect_first;

/// How long reaching a port may take, the gateway's or a proxy's, with its name and all of its addresses.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
/// How long TLS and the upgrade may take, each.
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// Most of a refusal's body that is read, bytes.
const REFUSAL_MAX: usize = 4 * 1024;
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
/// Unsent bytes in the kernel: what waits there cannot be overtaken by a ping or a keystroke.
#[cfg(target_os = "linux")]
const NOT_SENT_MAX: u32 = 128 * 1024;

/// A connection in the making.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<TcpStream, DialError>> + Send + 'a>>;

/// Makes the TCP connection to a gateway; what dials through a proxy takes its place.
pub trait Connector: std::fmt::Debug + Send + Sync {
    /// Connects to a host name or address. Must give up by itself.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a>;
}

/// Connects without a proxy: all addresses of the name, each with a head start over the next, 5 s together. One that is
/// silent does not keep the others from being tried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

/// A stream on which a tunnel can run, with what was already read of it.
#[derive(Debug)]
pub struct Dialed {
    pub stream: TlsStream,
    pub read_buf: Bytes,
}

/// Dials `https://host[:port]`; a path in the URL goes before `/tunnel`. Takes 15 s at most, through a proxy 25 s.
pub async fn dial(url: &str, tls: Arc<ClientConfig>, connector: &dyn Connector) -> Result<Dialed, DialError> {
    let gateway = Gateway::parse(url)?;
    let name = ServerName::try_from(gateway.host.clone())
        .map_err(|_| DialError::Url { url: format!("https://{}", gateway.authority) })?;
    reach(&gateway, name, tls, connector).await
}

/// As [`dial`], where the other end has to prove that it is `name`, whatever it is called in the URL.
pub async fn dial_by_name(
    url: &str,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    connector: &dyn Connector,
) -> Result<Dialed, DialError> {
    reach(&Gateway::parse(url)?, name, tls, connector).await
}

async fn reach(
    gateway: &Gateway,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    connector: &dyn Connector,
) -> Result<Dialed, DialError> {
    let socket = connector.connect(&gateway.host, gateway.port).await?;
    tune(&socket).map_err(|source| DialError::Connect { address: gateway.authority.clone(), source })?;
    let stream = handshake(gateway, name, tls, socket).await?;
    timeout(STEP_WITHIN, ask(gateway, stream))
        .await
        .map_err(|_| DialError::Timeout { step: "the upgrade", after: STEP_WITHIN })?
}

/// Sets what every tunnel's socket needs: no delay, little unsent in the kernel, and an end within 10 s when the peer is
/// silent below us.
pub fn tune(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(NOT_SENT_MAX)?;
    }
    Ok(())
}

impl Connector for Direct {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let connected = timeout(CONNECT_WITHIN, connect_any(host, port)).await;
            connected.map_err(|_| DialError::Timeout { step: "connecting", after: CONNECT_WITHIN })?
        })
    }
}

async fn connect_any(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let dns = |source| DialError::Dns { host: host.to_owned(), source };
    let places: Vec<_> =
        tokio::net::lookup_host((host, port)).await.map_err(dns)?.take(ADDRESSES_MAX).collect();
    if places.is_empty() {
        return Err(dns(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")));
    }
    // People know a gateway by one of these.
    let address = if let [only] = *places { only.to_string() } else { format!("{host}:{port}") };
    connect_first(race::by_turns(places)).await.map_err(|source| DialError::of_connect(address, source))
}

struct Gateway {
    host: String,
    port: u16,
    /// As in the URL, for the host header and errors.
    authority: String,
    path: String,
}

impl Gateway {
    fn parse(url: &str) -> Result<Self, DialError> {
        let bad = || DialError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(bad());
        }
        let path = format!("{}{}", uri.path().trim_end_matches('/'), upgrade::PATH);
        Ok(Self { host, port: authority.port_u16().unwrap_or(443), authority: authority.to_string(), path })
    }
}

async fn handshake(
    gateway: &Gateway,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    socket: TcpStream,
) -> Result<TlsStream, DialError> {
    let mut tls = Arc::unwrap_or_clone(tls);
    // The upgrade is HTTP/1.1's; the same port would give us HTTP/2 if we let it.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let handshake = TlsStream::connect(Arc::new(tls), name, socket);
    match timeout(STEP_WITHIN, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(DialError::of_tls(&gateway.host, source)),
        Err(_) => Err(DialError::Timeout { step: "the TLS handshake", after: STEP_WITHIN }),
    }
}

/// Asks for the upgrade and takes the stream back.
async fn ask(gateway: &Gateway, stream: TlsStream) -> Result<Dialed, DialError> {
    let broken = |source: hyper::Error| DialError::of_upgrade(&gateway.host, source);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
    let request = Request::get(&gateway.path)
        .header(header::HOST, &gateway.authority)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .body(Empty::<Bytes>::new())
        .map_err(|_| DialError::Url { url: format!("https://{}{}", gateway.authority, gateway.path) })?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        if response.headers().get(header::SEC_WEBSOCKET_ACCEPT) != Some(&accept_key(key.as_bytes())) {
            return Err(DialError::NotAGateway { host: gateway.host.clone() });
        }
        hyper::upgrade::on(response).await.map_err(broken)
    };
    let mut exchange = std::pin::pin!(exchange);
    let upgraded = tokio::select! {
        upgraded = &mut exchange => upgraded?,
        // It has handed the stream over, or its error to the exchange.
        _ = connection.with_upgrades() => exchange.await?,
    };
    let parts =
        upgraded.downcast::<TokioIo<TlsStream>>().expect("the stream that was given to the handshake above");
    Ok(Dialed { stream: parts.io.into_inner(), read_buf: parts.read_buf })
}

async fn refusal(response: Response<Incoming>) -> DialError {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
    DialError::Rejected { status, body: body.unwrap_or_default() }
}

/// The TLS error somewhere inside `error`, through the layers that hide it.
fn tls_error<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An io::Error's source is its inner error's source, not the inner error.
        error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}
