//! The tunnels of other gateways, and what they pass on: callers, and calls of the admin API.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};
use warren_core::id::GatewayId;
use warren_identity::GatewayIdentity;
use warren_tunnel::{
    Budget, Bundles, CloseReason, Config, Handle, Hello, Incoming, OpenResult, Role, SessionKind,
    echo::serve_echo,
    upgrade::{self, UpgradeError, Upgrading},
};

use super::{calls, of_place};
use crate::{
    admin::now_ms,
    dispatch::Dispatcher,
    ends,
    metrics::{Rejected, rejected},
    registry::Registry,
    sessions::Wanted,
    store::{Store, StoreError},
};

/// Tunnels of other gateways at once.
const TUNNELS_MAX: usize = 64;
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Why another gateway gets no tunnel.
#[derive(Debug, Error)]
enum Refused {
    #[error("gateway stops")]
    Stopping,
    #[error("another process has this gateway's id, give each gateway a data directory of its own")]
    OwnId,
    #[error("certificate of {0} does not hold at this time, check its clock and this one's")]
    Expired(GatewayId),
    #[error("{0} is not one of the gateways on this store")]
    Unknown(GatewayId),
    #[error("gateway's store does not answer")]
    Store(#[source] StoreError),
    #[error("gateway has as many tunnels of other gateways as it may")]
    Full,
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

/// Serves other gateways. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Guests {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own: GatewayId,
    store: Arc<dyn Store>,
    /// Who was let in on the store's word.
    known: Mutex<BTreeSet<GatewayId>>,
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
        store: Arc<dyn Store>,
        registry: Registry,
        dispatcher: Dispatcher,
        (own, machine, budget): (GatewayId, Config, Budget),
        draining: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                own,
                store,
                known: Mutex::default(),
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

    /// Answers the request for a tunnel of a gateway, which TLS has verified; when the answer is 101, it is served from then
    /// on. Calls that come through it are answered by `api`.
    pub(crate) async fn answer<B>(
        &self,
        request: &mut Request<B>,
        identity: &GatewayIdentity,
        api: Router,
    ) -> Response<Body> {
        match self.begin(request, identity, api).await {
            Ok(response) => response,
            Err(refused) => {
                rejected(refused.metric());
                debug!(gateway = %identity.gateway, error = &refused as &dyn Error, "tunnel of another gateway refused");
                ends::refused(refused.status(), refused.metric().as_str(), &refused.to_string())
            }
        }
    }

    async fn begin<B>(
        &self,
        request: &mut Request<B>,
        identity: &GatewayIdentity,
        api: Router,
    ) -> Result<Response<Body>, Refused> {
        if self.shared.draining.is_cancelled() {
            return Err(Refused::Stopping);
        }
        self.shared.check(identity).await?;
        let room = self.shared.room.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (response, upgrading) = upgrade::upgrade(request)?;
        let (shared, gateway) = (self.shared.clone(), identity.gateway);
        self.shared.tasks.spawn(async move {
            shared.serve(upgrading, gateway, &api).await;
            drop(room);
        });
        Ok(response)
    }

    /// Whether it is let in at this moment.
    #[cfg(test)]
    pub(super) async fn lets_in(&self, identity: &GatewayIdentity) -> Result<(), &'static str> {
        self.shared.check(identity).await.map_err(|refused| refused.metric().as_str())
    }

    /// Serves a tunnel whose bytes somebody else moves.
    #[cfg(test)]
    pub(super) async fn attend(&self, tunnel: &Handle, api: &Router) {
        self.shared.attend(tunnel, api).await;
    }

    /// Takes nothing more, and lets what is carried end until `deadline`. Gives the number cut.
    pub(crate) async fn drain(&self, deadline: Duration) -> usize {
        ends::drain(&self.shared.bundles, &self.tunnels(), deadline).await
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
    /// The store's word: its certificate may outlive a gateway. One that was let in is let in while the store is away, too, or
    /// nobody could be passed on after a break.
    async fn check(&self, identity: &GatewayIdentity) -> Result<(), Refused> {
        let GatewayIdentity { gateway, validity } = *identity;
        if gateway == self.own {
            return Err(Refused::OwnId);
        }
        if !validity.holds(SystemTime::now()) {
            return Err(Refused::Expired(gateway));
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.store.gateways().await {
            Ok(all) if all.iter().any(|record| record.id == gateway) => {
                let mut known = known();
                known.retain(|known| all.iter().any(|record| record.id == *known));
                known.insert(gateway);
                Ok(())
            }
            Ok(_) => {
                known().remove(&gateway);
                Err(Refused::Unknown(gateway))
            }
            Err(StoreError::Away { .. } | StoreError::Database { .. }) if known().contains(&gateway) => {
                Ok(())
            }
            Err(error) => Err(Refused::Store(error)),
        }
    }

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
        // Without its hello nothing comes.
        let from = tunnel.ready().await.map_or(0, |hello| hello.place);
        while let Some(incoming) = tunnel.accept().await {
            self.take(incoming, from, api);
        }
    }

    fn take(&self, incoming: Incoming, from: u64, api: &Router) {
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
                self.dispatcher.take_guest(incoming, Wanted { group, resource }, from);
            }
        }
    }
}

impl Refused {
    const fn metric(&self) -> Rejected {
        match self {
            Self::Stopping => Rejected::Stopping,
            Self::OwnId | Self::Unknown(_) => Rejected::UnknownGateway,
            Self::Expired(_) => Rejected::Identity("cert_expired"),
            Self::Store(_) => Rejected::Store,
            Self::Full => Rejected::TunnelsFull,
            Self::Upgrade(_) => Rejected::Upgrade,
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::OwnId | Self::Expired(_) | Self::Unknown(_) => StatusCode::FORBIDDEN,
            Self::Stopping | Self::Full | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upgrade(_) => StatusCode::BAD_REQUEST,
        }
    }
}
