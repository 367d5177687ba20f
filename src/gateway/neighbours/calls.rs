//! Calls of the admin API that another gateway passes on, over a control session of its tunnel.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming as Sent, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::debug;
use warren_identity::IdentityError;
use warren_tunnel::Incoming;

use crate::admin::Caller;

/// A session is for one call, and no call takes longer.
const WITHIN: Duration = Duration::from_secs(30);

/// Answers what comes by `api`, which looks itself who calls.
pub(crate) async fn serve(incoming: Incoming, api: Router) {
    let address = incoming.request().caller.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let caller =
        Caller { address, standing: Default::default(), identity: Err(IdentityError::NoCertificate) };
    let service = service_fn(move |mut request: Request<Sent>| {
        request.extensions_mut().insert(caller.clone());
        let api = api.clone();
        async move {
            let answered = api.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|never| match never {}))
        }
    });
    let stream = TokioIo::new(incoming.accept());
    let mut server = http2::Builder::new(TokioExecutor::new());
    let serving = server.timer(TokioTimer::new()).serve_connection(stream, service);
    match timeout(WITHIN, serving).await {
        Ok(Ok(())) => {}
        // The other end hangs up as soon as it has its answer.
        Ok(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "another gateway's call has ended")
        }
        Err(_) => debug!("another gateway's call took too long"),
    }
}
