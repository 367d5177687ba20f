//! The way of [`dial`](super::dial) in single steps, for who wants to know at which one it ends.
//!
//! ```text
//! Connector::connect ─▶ secure ─▶ greet
//! ```
//! No tunnel comes of it: who only looks must not push a tunnel of the same agent aside.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};

use super::{DialError, Gateway, REFUSAL_MAX, STEP_WITHIN, handshake, tune};
use crate::tls::TlsStream;

/// Where a gateway says in one word why it refused.
const REASON: &str = "warren-reason";

/// What a gateway says to who asks for the tunnels' path, and for no tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub status: u16,
    /// One word; only gateways say it.
    pub reason: Option<String>,
    /// The sentence for people, at most 4 KiB.
    pub text: String,
    /// The `Date` header as it came: the gateway's clock, to the second.
    pub date: Option<String>,
}

/// Shakes hands over `socket`, which leads to the gateway at `url`. Takes 5 s at most.
pub async fn secure(url: &str, tls: Arc<ClientConfig>, socket: TcpStream) -> Result<TlsStream, DialError> {
    let gateway = Gateway::parse(url)?;
    let name = ServerName::try_from(gateway.host.clone())
        .map_err(|_| DialError::Url { url: format!("https://{}", gateway.authority) })?;
    tune(&socket).map_err(|source| DialError::Connect { address: gateway.authority.clone(), source })?;
    handshake(&gateway, name, tls, socket).await
}

/// Asks the gateway at `url` what stands against this agent. It judges the certificate as it does before each tunnel, and
/// then misses the words that ask for one. Takes 5 s at most.
pub async fn greet(url: &str, stream: TlsStream) -> Result<Greeting, DialError> {
    let gateway = Gateway::parse(url)?;
    timeout(STEP_WITHIN, ask(&gateway, stream))
        .await
        .map_err(|_| DialError::Timeout { step: "the gateway's answer", after: STEP_WITHIN })?
}

async fn ask(gateway: &Gateway, stream: TlsStream) -> Result<Greeting, DialError> {
    let broken = |source: hyper::Error| DialError::of_upgrade(&gateway.host, source);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(&gateway.path)
        .header(header::HOST, &gateway.authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| DialError::Url { url: format!("https://{}{}", gateway.authority, gateway.path) })?;
    let asking = async { Ok(read(sender.send_request(request).await.map_err(broken)?).await) };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        greeting = &mut asking => greeting,
        // It has handed what it read, or its error, to the request.
        _ = connection => asking.await,
    }
}

async fn read(response: Response<Incoming>) -> Greeting {
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (reason, date) = (header(REASON), header(header::DATE.as_str()));
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
    Greeting { status, reason, text: text.unwrap_or_default(), date }
}
