//! The tunnels of other gateways, and what they pass on: callers, and calls of the admin API.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};
use warren_core::id::GatewayId;
use warren_tunnel::{
    Budget, Bundles, CloseReason, Config, Handle, Hello, Incoming, OpenResult, Role, SessionKind,
    echo::serve_echo,
    upgrade::{self, Upgrading},
};

use super::{calls, of_place};
use crate::{admin::now_ms, dispatch::Dispatcher, ends, registry::Registry, sessions::Wanted};

/// Tunnels of other gateways at once.
const TUNNELS_MAX: usize = 64;
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Serves other gateways. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Guests {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own: GatewayId,
    registry: Registry,
    dispatcher: Dispatcher,
    bundles: Bundles,
    /// Grows from one start of the gateway to the next, as an agent's does.
    boot: u64,
    connections: AtomicU64,
    tunnels: Mutex<BTreeMap<u64, Handle>>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: CancellationToken,
}

impl Guests {
    pub(crate) fn new(
        registry: Registry,
        dispatcher: Dispatcher,
        (own, machine, budget): (GatewayId, Config, Budget),
        draining: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                own,
                registry,
                dispatcher,
                bundles: Bundles::new(Role::Agent, machine, budget),
                boot: now_ms(),
                connections: AtomicU64::new(0),
                tunnels: Mutex::default(),
                room: Arc::new(Semaphore::new(TUNNELS_MAX)),
                tasks: TaskTracker::new(),
                draining,
            }),
        }
    }

    /// Answers the request for a tunnel of `gateway`, which TLS has verified; when the answer is 101, it is served from
    /// then on. Calls that come through it are answered by `api`.
    pub(crate) fn answer<B>(
        &self,
        request: &mut Request<B>,
        gateway: GatewayId,
        api: Router,
    ) -> Response<Body> {
        let refuse = |status, why: &'static str| {
            debug!(%gateway, why, "tunnel of another gateway refused");
            let mut response = Response::new(Body::from(format!("{why}\n")));
            *response.status_mut() = status;
            response
        };
        if self.shared.draining.is_cancelled() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "gateway stops");
        }
        if gateway == self.shared.own {
            return refuse(StatusCode::FORBIDDEN, "another process has this gateway's id");
        }
        let Ok(room) = self.shared.room.clone().try_acquire_owned() else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many tunnels of other gateways");
        };
        let Ok((response, upgrading)) = upgrade::upgrade(request) else {
            return refuse(StatusCode::BAD_REQUEST, "not a websocket upgrade");
        };
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            shared.serve(upgrading, gateway, &api).await;
            drop(room);
        });
        response
    }

    /// Serves a tunnel whose bytes somebody else moves.
    #[cfg(test)]
    pub(super) async fn attend(&self, tunnel: &Handle, api: &Router) {
        self.shared.attend(tunnel, api).await;
    }

    /// Takes nothing more, and lets what is carried end until `deadline`. Gives the number cut.
    pub(crate) async fn drain(&self, deadline: Duration) -> usize {
        ends::drain(&self.tunnels(), deadline).await
    }

    /// Closes every tunnel and waits a moment for that to be told.
    pub(crate) async fn close(&self) {
        ends::close(&self.tunnels());
        self.shared.tasks.close();
        drop(timeout(CLOSE_WITHIN, self.shared.tasks.wait()).await);
    }

    fn tunnels(&self) -> Vec<Handle> {
        self.shared.lock().values().cloned().collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Handle>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, upgrading: Upgrading, gateway: GatewayId, api: &Router) {
        let epoch = self.connections.fetch_add(1, Relaxed) + 1;
        let greeted = match ends::greet(&self.bundles, upgrading, Hello::new(self.boot, epoch, 0)).await {
            Ok(greeted) => greeted,
            Err(error) => return debug!(%gateway, error = &error as &dyn Error, "no tunnel"),
        };
        let (handle, driver) = self.bundles.join(gateway.number(), greeted);
        let driving = self.tasks.spawn(driver);
        self.lock().insert(epoch, handle.clone());
        if self.draining.is_cancelled() {
            // The drain may not have seen it.
            handle.close(CloseReason::Shutdown, "gateway stops");
        }
        info!(%gateway, "tunnel of another gateway up");
        self.attend(&handle, api).await;
        self.lock().remove(&epoch);
        let closed = handle.closed().await;
        info!(%gateway, reason = %closed.reason, detail = closed.detail, "tunnel of another gateway down");
        drop(driving.await);
    }

    /// Takes what comes until the end.
    async fn attend(&self, tunnel: &Handle, api: &Router) {
        while let Some(incoming) = tunnel.accept().await {
            self.take(incoming, api);
        }
    }

    fn take(&self, incoming: Incoming, api: &Router) {
        match incoming.request().kind {
            SessionKind::Echo => drop(self.tasks.spawn(async move { serve_echo(incoming.accept()).await })),
            SessionKind::Control => drop(self.tasks.spawn(calls::serve(incoming, api.clone()))),
            SessionKind::Resource => {
                let Some((group, resource)) = of_place(&incoming.request().name) else {
                    return incoming.refuse(OpenResult::Unknown, "not a resource of a group");
                };
                if !self.registry.has_tunnels(group) {
                    return incoming.refuse(OpenResult::Busy, "no agent of the group has a tunnel here");
                }
                self.dispatcher.take_guest(incoming, Wanted { group, resource });
            }
        }
    }
}
