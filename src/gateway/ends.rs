//! What the tunnels of agents and those of other gateways have in common.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use warren_tunnel::{
    Bundles, CloseReason, Closed, Greeted, Handle, Hello,
    tls::TlsStream,
    upgrade::{UpgradeError, Upgrading},
};

/// The connection must be handed over within this time.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);
/// What peers and people are told when it is over.
const STOPS: &str = "gateway stops";

/// Why a request for a tunnel that was granted has not become one.
#[derive(Debug, Error)]
pub(crate) enum NoTunnel {
    #[error("upgrade failed")]
    Upgrade(#[from] UpgradeError),
    #[error("upgrade took too long")]
    Slow,
    #[error("no hello")]
    Hello(#[source] Closed),
}

/// Takes the connection over from HTTP, and says hello on it.
pub(crate) async fn greet(
    bundles: &Bundles,
    upgrading: Upgrading,
    hello: Hello,
) -> Result<Greeted<TlsStream>, NoTunnel> {
    let upgraded = timeout(UPGRADE_WITHIN, upgrading.stream::<TlsStream>()).await;
    let upgraded = upgraded.map_err(|_| NoTunnel::Slow)??;
    let greeted = bundles.greet(upgraded.stream, upgraded.read_buf, hello).await;
    Ok(greeted.map_err(NoTunnel::Hello)?.look_for_end_by(TlsStream::has_ended))
}

/// Asks for nothing new, and lets what they carry, and what waits for one of them, end until `deadline`. Gives the number
/// cut.
pub(crate) async fn drain(bundles: &Bundles, tunnels: &[Handle], deadline: Duration) -> usize {
    let until = Instant::now() + deadline;
    let drains = tunnels.iter().map(|tunnel| tunnel.drain(deadline, STOPS));
    let cut: usize = futures_util::future::join_all(drains).await.into_iter().sum();
    cut + bundles.drain(until).await
}

pub(crate) fn close(tunnels: &[Handle]) {
    for tunnel in tunnels {
        tunnel.close(CloseReason::Shutdown, STOPS);
    }
}

/// The answer to a request for a tunnel that is refused. The body is what people are shown.
pub(crate) fn refused(status: StatusCode, reason: &'static str, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert("warren-reason", HeaderValue::from_static(reason));
    response
}
