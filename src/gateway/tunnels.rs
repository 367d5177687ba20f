//! From an agent's request for a tunnel to its end.
//!
//! ```text
//! request ─ identity? revoked? ─▶ 101 ─▶ hello ─▶ echo ─▶ registry ─▶ echo every 10 s, control ─▶ end
//!     └────────── no ──────────▶ 403, with the reason
//! ```

use std::{error::Error, sync::Arc, time::Duration, time::SystemTime};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use thiserror::Error;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};
use warren_core::id::GatewayId;
use warren_identity::{IdentityError, PeerIdentity};
use warren_tunnel::{
    Budget, Bundles, CloseReason, Closed, Config, Handle, Hello, Role,
    echo::check_echo,
    upgrade::{self, UpgradeError, Upgrading},
};

use crate::{
    admin::now_s,
    control,
    ends::{self, NoTunnel},
    metrics::{Rejected, rejected},
    registry::{Registry, Tunnel},
    store::{Store, StoreError},
};

mod known;

pub(crate) use known::Known;

/// What is left of the hello, and the first echo, must come within this time each.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// A repeated echo must come back within this time.
const ECHO_WITHIN: Duration = Duration::from_secs(2);
/// So many echoes missed in a row end a tunnel that pings but does not carry data.
const ECHO_MISSES_MAX: u32 = 2;
/// How long a tunnel outlives the newest certificate of its agent.
const EXPIRY_GRACE_S: u64 = 300;

/// What tunnels need to be served.
#[derive(Debug, Clone)]
pub struct Tunnels {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    store: Arc<dyn Store>,
    known: Known,
    bundles: Bundles,
    echo_every: Duration,
    hello: Hello,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: CancellationToken,
}

/// Limits and times of all tunnels.
#[derive(Debug, Clone)]
pub struct TunnelLimits {
    pub gateway: GatewayId,
    pub machine: Config,
    pub echo_every: Duration,
    /// Tunnels at once.
    pub tunnels_max: usize,
    /// Memory for the sessions of all tunnels.
    pub budget: Budget,
}

/// Why there is no tunnel for this request.
#[derive(Debug, Error)]
enum Refused {
    #[error("{0}")]
    NoIdentity(IdentityError),
    #[error("{0} was revoked, it must enrol again as a new agent")]
    Revoked(warren_core::id::AgentId),
    #[error("{0} is not known to this gateway, it must enrol again")]
    Unknown(warren_core::id::AgentId),
    #[error("gateway stops, connect to another one")]
    Stopping,
    #[error("gateway has as many tunnels as it may, connect to another one")]
    Full,
    #[error("gateway's store does not answer")]
    Store(#[source] StoreError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

impl Tunnels {
    pub fn new(
        registry: Registry,
        store: Arc<dyn Store>,
        limits: TunnelLimits,
        draining: CancellationToken,
    ) -> Self {
        // The boot is drawn at start, so that agents can tell a restart.
        let hello = Hello { place: limits.gateway.number(), ..Hello::new(rand::random(), 0, 0) };
        let shared = Shared {
            registry,
            store,
            known: Known::default(),
            bundles: Bundles::new(Role::Gateway, limits.machine, limits.budget),
            echo_every: limits.echo_every,
            hello,
            room: Arc::new(Semaphore::new(limits.tunnels_max)),
            tasks: TaskTracker::new(),
            draining,
        };
        Self { shared: Arc::new(shared) }
    }

    /// To be told when the store answers.
    pub(crate) fn known(&self) -> Known {
        self.shared.known.clone()
    }

    /// Answers a request for a tunnel; when the answer is 101, the tunnel is served from then on.
    pub(crate) async fn answer<B>(
        &self,
        request: &mut Request<B>,
        identity: Result<&PeerIdentity, IdentityError>,
    ) -> Response<Body> {
        match self.begin(request, identity).await {
            Ok(response) => response,
            Err(refused) => {
                rejected(refused.metric());
                debug!(error = &refused as &dyn Error, "tunnel refused");
                refused.response()
            }
        }
    }

    /// Tells every agent that nothing new is wanted, and waits until their sessions are done or the deadline has come.
    /// Returns how many were cut.
    pub(crate) async fn drain(&self, deadline: Duration) -> usize {
        ends::drain(&self.shared.bundles, &self.handles(), deadline).await
    }

    /// Closes every tunnel and waits a moment for that to be told.
    pub(crate) async fn close(&self) {
        ends::close(&self.handles());
        self.shared.tasks.close();
        // A peer that does not listen is not waited for.
        drop(timeout(Duration::from_secs(2), self.shared.tasks.wait()).await);
    }

    fn handles(&self) -> Vec<Handle> {
        self.shared.registry.tunnels().iter().map(|tunnel| tunnel.handle.clone()).collect()
    }

    /// Serves a tunnel whose bytes somebody else moves.
    #[cfg(test)]
    pub(crate) async fn attend(&self, handle: Handle, identity: PeerIdentity) {
        self.shared.attend(handle, identity).await;
    }

    async fn begin<B>(
        &self,
        request: &mut Request<B>,
        identity: Result<&PeerIdentity, IdentityError>,
    ) -> Result<Response<Body>, Refused> {
        let identity = identity.map_err(Refused::NoIdentity)?;
        identity.check(SystemTime::now()).map_err(Refused::NoIdentity)?;
        if self.shared.draining.is_cancelled() {
            return Err(Refused::Stopping);
        }
        self.shared.check(identity).await?;
        let room = self.shared.room.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (response, upgrading) = upgrade::upgrade(request)?;
        let (shared, identity) = (self.shared.clone(), identity.clone());
        self.shared.tasks.spawn(async move {
            shared.serve(upgrading, identity).await;
            drop(room);
        });
        Ok(response)
    }
}

impl Shared {
    /// The store's word on an agent: the in-memory list of revocations may be a moment behind. While the store is away, or
    /// will not answer, sessions are worth more than that moment.
    async fn check(&self, identity: &PeerIdentity) -> Result<(), Refused> {
        if self.registry.is_revoked(identity.agent) {
            return Err(Refused::Revoked(identity.agent));
        }
        match self.store.agent(identity.agent).await {
            Ok(Some(record)) if record.revoked_s.is_some() => Err(Refused::Revoked(identity.agent)),
            Ok(Some(record)) if record.group == identity.group => {
                self.known.saw(identity.agent, Instant::now());
                Ok(())
            }
            Ok(_) => Err(Refused::Unknown(identity.agent)),
            Err(StoreError::Away { .. } | StoreError::Database { .. })
                if self.known.vouches(identity.agent, Instant::now()) =>
            {
                info!(member = %identity.agent, "store does not answer, agent is taken back as one that was good a while ago");
                Ok(())
            }
            Err(error) => Err(Refused::Store(error)),
        }
    }

    async fn serve(self: Arc<Self>, upgrading: Upgrading, identity: PeerIdentity) {
        let greeted = match ends::greet(&self.bundles, upgrading, self.hello).await {
            Ok(greeted) => greeted,
            Err(no_tunnel) => {
                if matches!(no_tunnel, NoTunnel::Hello(_)) {
                    rejected(Rejected::Unverified);
                }
                return debug!(member = %identity.agent, error = &no_tunnel as &dyn Error, "no tunnel");
            }
        };
        let (handle, driver) = self.bundles.join(identity.agent.number(), greeted);
        let driver = self.tasks.spawn(driver);
        self.attend(handle, identity).await;
        // The driver ends when its last frame has left; it has its own deadline for that.
        drop(driver.await);
    }

    /// Everything but the bytes.
    async fn attend(&self, handle: Handle, identity: PeerIdentity) {
        let member = identity.agent;
        let hello = match verify(&handle).await {
            Ok(hello) => hello,
            Err(why) => {
                rejected(Rejected::Unverified);
                handle.close(CloseReason::NotAlive, &why);
                return debug!(%member, why, "tunnel could not be verified");
            }
        };
        let tunnel = match self.registry.admit(&identity, hello, handle.clone()) {
            Ok(tunnel) => tunnel,
            Err(refused) => {
                rejected(Rejected::NotAdmitted(refused));
                handle.close(refused.close_reason(), &refused.to_string());
                return info!(%member, reason = refused.as_str(), "tunnel refused");
            }
        };
        info!(group = %identity.group, %member, tunnel = tunnel.number, slot = hello.slot, "tunnel up");
        let closed = tokio::select! {
            closed = handle.closed() => closed,
            closed = self.watch_over(&tunnel, &identity) => closed,
            () = control::keep(self.registry.clone(), self.store.clone(), tunnel.clone()) => handle.closed().await,
        };
        self.registry.remove(&tunnel);
        let Closed { reason, detail, by_peer } = closed;
        info!(group = %identity.group, %member, tunnel = tunnel.number, %reason, detail, by_peer, "tunnel down");
    }

    /// Passes changes of its state on, and ends it when it does not carry data or its agent's certificate has run out.
    async fn watch_over(&self, tunnel: &Tunnel, identity: &PeerIdentity) -> Closed {
        let mut status = tunnel.handle.status();
        let mut echoes = interval_at(Instant::now() + self.echo_every, self.echo_every);
        echoes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut misses = 0;
        loop {
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return tunnel.handle.closed().await;
                    }
                    self.registry.touch(tunnel.group);
                }
                _ = echoes.tick() => {
                    match check_echo(&tunnel.handle, ECHO_WITHIN).await {
                        Ok(_) => misses = 0,
                        Err(_) if status.borrow().closed.is_some() => return tunnel.handle.closed().await,
                        Err(error) => {
                            misses += 1;
                            warn!(member = %identity.agent, tunnel = tunnel.number, misses, error = &error as &dyn Error, "echo missed");
                        }
                    }
                    if misses >= ECHO_MISSES_MAX {
                        tunnel.handle.close(CloseReason::NotAlive, "does not carry data");
                    } else if let Some(why) = self.expired(identity).await {
                        // Nobody revoked it: when it dials again it is told in full.
                        tunnel.handle.close(CloseReason::Recycled, &why);
                    }
                }
            }
        }
    }

    /// A tunnel may outlive the certificate that it was made with, but not the newest one that its agent has.
    async fn expired(&self, identity: &PeerIdentity) -> Option<String> {
        if identity.check(SystemTime::now()).is_ok() {
            return None;
        }
        match self.store.agent(identity.agent).await {
            Ok(Some(record)) if now_s() > record.not_after_s + EXPIRY_GRACE_S => {
                Some("the agent's certificate has expired".to_owned())
            }
            Ok(None) => Some("the agent is not known any more".to_owned()),
            Ok(Some(_)) => None,
            Err(error) => {
                warn!(member = %identity.agent, error = &error as &dyn Error, "certificate not checked");
                None
            }
        }
    }
}

/// A tunnel counts once its hello has come and an echo went through it.
async fn verify(handle: &Handle) -> Result<Hello, String> {
    let ready = timeout(READY_WITHIN, handle.ready()).await.map_err(|_| "no hello came".to_owned())?;
    let hello =
        ready.map_err(|closed| format!("closed before its hello: {} {}", closed.reason, closed.detail))?;
    check_echo(handle, READY_WITHIN).await.map_err(|error| error.to_string())?;
    Ok(hello)
}

impl Refused {
    fn metric(&self) -> Rejected {
        match self {
            Self::NoIdentity(error) => Rejected::Identity(error.reason()),
            Self::Revoked(_) => Rejected::Revoked,
            Self::Unknown(_) => Rejected::UnknownAgent,
            Self::Stopping => Rejected::Stopping,
            Self::Full => Rejected::TunnelsFull,
            Self::Store(_) => Rejected::Store,
            Self::Upgrade(_) => Rejected::Upgrade,
        }
    }

    /// The body is what the agent shows to people.
    fn response(&self) -> Response<Body> {
        let status = match self {
            Self::NoIdentity(IdentityError::NoCertificate) => StatusCode::UNAUTHORIZED,
            Self::NoIdentity(_) | Self::Revoked(_) | Self::Unknown(_) => StatusCode::FORBIDDEN,
            Self::Stopping | Self::Full | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upgrade(_) => StatusCode::BAD_REQUEST,
        };
        ends::refused(status, self.metric().as_str(), &self.to_string())
    }
}

#[cfg(test)]
mod tests;
