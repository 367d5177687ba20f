//! The whole gateway: what is built, in which order it runs, and how it ends.
//!
//! ```text
//! build: store and keys ─▶ port bound ─▶ resources' ports bound ─▶ ready
//! drain: nobody new is accepted ─▶ opens under way end ─▶ agents are told ─▶ sessions end, or the deadline comes ─▶ the rest is cut ─▶ tunnels closed
//! ```

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use warren_core::{id::GatewayId, trace::Tracer};
use warren_identity::{TlsError, tls};
use warren_tunnel::Budget;

use crate::{
    admin::{self, Context},
    config::{GatewayConfig, PublicUrl},
    dispatch::{DispatchLimits, Dispatcher, Stages},
    follow::Follower,
    ingress::{Ingress, IngressError, bind},
    listener::{ALPN, Front, ListenerLimits},
    lock::{DataLock, LockError},
    neighbours::{Guests, Links, Neighbours},
    registry::Registry,
    revoked::Leavers,
    sessions::SessionLog,
    setup::{Foundation, ServerCertificate, SetupError},
    spans::Spans,
    store::{GatewayRecord, StoreError},
    tunnels::{TunnelLimits, Tunnels},
};

#[cfg(test)]
mod tests;
mod upkeep;

/// Memory for the sessions of all tunnels, bytes.
const BUDGET: usize = 1 << 30;
/// Callers that were let in before the end get this long to reach their target by what serves still.
const OPENS_WITHIN: Duration = Duration::from_secs(1);
/// What was cut gets this long to tell its callers.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("gateway cannot be set up")]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot listen for agents and people")]
    Listen(#[source] IngressError),
    #[error("cannot tell which address is listened on")]
    Address(#[source] io::Error),
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    #[error("store cannot be read")]
    Store(#[from] StoreError),
    #[error("a gateway at {url} serves as {id}, too: give each gateway a data directory of its own")]
    IdInUse { id: GatewayId, url: String },
}

/// What whoever started the gateway wants to know; the ready file holds it.
#[derive(Debug, Clone)]
pub struct Ready {
    pub id: GatewayId,
    pub listen: SocketAddr,
    pub url: PublicUrl,
    /// The root to trust, PEM.
    pub ca: PathBuf,
    /// The first admin's token.
    pub token: PathBuf,
}

/// A gateway that has bound its ports and holds its store.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<GatewayConfig>,
    ready: Ready,
    listener: TcpListener,
    front: Arc<Front>,
    parts: Parts,
    follower: Follower,
    links: Links,
    lock: DataLock,
    readiness: watch::Sender<bool>,
}

/// What lives as long as the gateway.
#[derive(Debug, Clone)]
struct Parts {
    /// What the others on the same store are told.
    record: GatewayRecord,
    foundation: Foundation,
    certificate: ServerCertificate,
    registry: Registry,
    sessions: SessionLog,
    dispatcher: Dispatcher,
    ingress: Ingress,
    tunnels: Tunnels,
    neighbours: Neighbours,
    guests: Guests,
    /// Memory for the sessions of all tunnels.
    budget: Budget,
    tokens: Tokens,
}

/// Each stage of the end.
#[derive(Debug, Clone, Default)]
struct Tokens {
    /// No new callers, no new tunnels.
    drain: CancellationToken,
    /// Callers that still wait are let go.
    cut: CancellationToken,
    /// The port closes.
    stop: CancellationToken,
}

impl Gateway {
    /// Opens the store, makes what a first run needs, binds every port. Spans of its sessions go to `tracer`.
    pub async fn build(config: GatewayConfig, tracer: Tracer) -> Result<Self, StartError> {
        let now = SystemTime::now();
        let foundation = Foundation::open(&config, now).await?;
        let lock = DataLock::take(&config.data_dir)?;
        let listener = bind::bind(config.listen).map_err(StartError::Listen)?;
        let listen = listener.local_addr().map_err(StartError::Address)?;
        let url = config.public_url.clone().unwrap_or_else(|| PublicUrl::of(listen));
        let certificate = foundation.server_certificate(&url, listen, now)?;
        let ready = Ready {
            id: foundation.gateway,
            listen,
            url,
            ca: foundation.ca_path.clone(),
            token: foundation.token_path.clone(),
        };
        let config = Arc::new(config);
        let parts = Parts::new(&config, foundation, certificate, &ready, tracer);
        parts.check_id().await?;
        // What must be known before anybody is let in.
        let mut follower = parts.follower();
        follower.look().await?;
        if parts.foundation.store.is_shared() {
            parts.foundation.store.beat(&parts.record).await?;
        }
        let front = parts.front(&config)?;
        let links = parts.links(&config)?;
        let readiness = watch::Sender::new(false);
        Ok(Self { config, ready, listener, front, parts, follower, links, lock, readiness })
    }

    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// True while agents and callers are taken; for `/readyz`.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.readiness.subscribe()
    }

    /// Serves until `drain`, then ends in order; `stop` ends it at once. Returns the number of sessions that were cut.
    pub async fn run(self, drain: CancellationToken, stop: CancellationToken) -> usize {
        let Self { config, ready, listener, front, parts, follower, links, lock, readiness } = self;
        let tokens = parts.tokens.clone();
        let port = tokio::spawn(front.run(listener));
        let ingress = parts.ingress.clone();
        let keeper = tokio::spawn(async move { ingress.run().await });
        // Each by itself: one that waits for the store must not hold up another.
        let beating = tokio::spawn(upkeep::beat(parts.clone()));
        let lasting = [
            tokio::spawn(upkeep::run(parts.clone())),
            tokio::spawn(upkeep::follow_enrolled(parts.clone())),
            tokio::spawn(follower.run()),
            tokio::spawn(Leavers::new(parts.registry.clone(), parts.foundation.store.clone()).run()),
        ];
        // A store of our own has no others.
        let linking =
            parts.foundation.store.is_shared().then(|| tokio::spawn(links.run(tokens.drain.clone())));
        info!(id = %ready.id, listen = %ready.listen, url = %ready.url, "gateway serves");
        readiness.send_replace(true);
        tokio::select! {
            () = drain.cancelled() => {}
            () = stop.cancelled() => {}
        }
        readiness.send_replace(false);
        tokens.drain.cancel();
        parts.ingress.finished().await;
        let cut = parts.drain(config.drain, &stop).await;
        // It was told at the beginning; the store may be away.
        drop(timeout(CUT_WITHIN, beating).await);
        tokens.stop.cancel();
        for task in [port, keeper].into_iter().chain(linking) {
            // A task that panicked has said so; there is nothing left to save.
            drop(timeout(CUT_WITHIN, task).await);
        }
        lasting.iter().for_each(JoinHandle::abort);
        drop(timeout(CUT_WITHIN, parts.foundation.store.close()).await);
        drop(lock);
        info!(cut, "gateway stopped");
        cut
    }
}

impl Parts {
    fn new(
        config: &GatewayConfig,
        foundation: Foundation,
        certificate: ServerCertificate,
        ready: &Ready,
        tracer: Tracer,
    ) -> Self {
        let tokens = Tokens::default();
        let record = GatewayRecord {
            id: ready.id,
            url: ready.url.to_string(),
            address: config.internal_url.as_ref().unwrap_or(&ready.url).to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            silent_s: 0,
        };
        let (registry, sessions) = (Registry::default(), SessionLog::new(Spans::new(tracer, ready.id)));
        let limits = DispatchLimits {
            wait_for_member: config.tunnel_wait,
            sessions_max: config.limits.sessions,
            ..Default::default()
        };
        let neighbours = Neighbours::default();
        if foundation.store.is_shared() {
            // Before the first caller comes, who may find nobody here yet.
            neighbours.seek();
        }
        let dispatcher = Dispatcher::new(
            registry.clone(),
            neighbours.clone(),
            sessions.clone(),
            limits,
            Stages { drain: tokens.drain.clone(), stop: tokens.cut.clone() },
        );
        let ingress = Ingress::new(
            (config.ingress.host, config.ingress.ports),
            foundation.store.clone(),
            registry.clone(),
            dispatcher.clone(),
            tokens.drain.clone(),
        );
        let (machine, budget) = (machine(config), Budget::new(BUDGET));
        let guests = Guests::new(
            foundation.store.clone(),
            registry.clone(),
            dispatcher.clone(),
            (ready.id, machine.clone(), budget.clone()),
            tokens.drain.clone(),
        );
        let limits = TunnelLimits {
            gateway: foundation.gateway,
            machine,
            echo_every: config.tunnel.echo,
            tunnels_max: config.limits.tunnels,
            budget: budget.clone(),
        };
        let tunnels = Tunnels::new(registry.clone(), foundation.store.clone(), limits, tokens.drain.clone());
        Self {
            record,
            foundation,
            certificate,
            registry,
            sessions,
            dispatcher,
            ingress,
            tunnels,
            neighbours,
            guests,
            budget,
            tokens,
        }
    }

    fn links(&self, config: &GatewayConfig) -> Result<Links, TlsError> {
        let (key, trust) = (self.certificate.key.clone(), self.foundation.trust.clone());
        let tls = tls::neighbour_client(key, trust, &["http/1.1"])?;
        let ours = (self.record.id, machine(config), self.budget.clone());
        Ok(Links::new(self.neighbours.clone(), self.foundation.store.clone(), tls, ours))
    }

    fn follower(&self) -> Follower {
        let known = self.tunnels.known();
        Follower::new(self.foundation.store.clone(), self.registry.clone(), self.ingress.clone(), known)
    }

    /// Agents take two gateways of one id for one, and would lose their sessions.
    async fn check_id(&self) -> Result<(), StartError> {
        let gateways = self.foundation.store.gateways().await?;
        let other = gateways
            .into_iter()
            .find(|other| other.id == self.record.id && other.is_alive() && other.url != self.record.url);
        other.map_or(Ok(()), |other| Err(StartError::IdInUse { id: other.id, url: other.url }))
    }

    /// Tells the others at once, who would find out by themselves.
    async fn leave(&self) {
        let store = &self.foundation.store;
        if store.is_shared()
            && let Ok(Err(error)) = timeout(CUT_WITHIN, store.leave(self.record.id)).await
        {
            warn!(error = &error as &dyn Error, "not noted in the store that this gateway stops");
        }
    }

    fn front(&self, config: &Arc<GatewayConfig>) -> Result<Arc<Front>, TlsError> {
        let context = Context {
            store: self.foundation.store.clone(),
            registry: self.registry.clone(),
            ingress: self.ingress.clone(),
            sessions: self.sessions.clone(),
            neighbours: self.neighbours.clone(),
            gateway: self.record.id,
            authority: self.foundation.authority.clone(),
            tokens: self.foundation.tokens.clone(),
            config: config.clone(),
        };
        let tls = tls::gateway_server(self.certificate.key.clone(), self.foundation.trust.clone(), ALPN)?;
        let limits = ListenerLimits {
            handshakes_max: config.limits.handshakes,
            connections_max: config.limits.connections,
            handshake_within: Duration::from_secs(5),
        };
        let router = admin::routes(context).into_axum_router();
        Ok(Front::new(
            tls,
            router,
            (self.tunnels.clone(), self.guests.clone()),
            limits,
            self.tokens.stop.clone(),
        ))
    }

    /// Lets sessions end until the deadline or `stop`, then cuts what is left.
    async fn drain(&self, deadline: Duration, stop: &CancellationToken) -> usize {
        let open = self.sessions.open_total();
        if open > 0 && !stop.is_cancelled() {
            info!(sessions = open, seconds = deadline.as_secs(), "draining");
        }
        let mut cut = 0;
        // At the deadline the tunnels cut what they carry, and tell both ends of it why.
        let finish = async {
            let until = Instant::now() + deadline;
            let ours = async {
                // Who was let in before the end still finds members and other gateways that take it.
                drop(timeout(OPENS_WITHIN.min(deadline), self.dispatcher.opened()).await);
                let left = until.saturating_duration_since(Instant::now());
                tokio::join!(self.tunnels.drain(left), self.neighbours.drain(left))
            };
            // Other gateways are told at once. What guests have is carried by tunnels of ours.
            let ((own, passed_on), _) = tokio::join!(ours, self.guests.drain(deadline));
            cut = own + passed_on;
            self.dispatcher.finished().await;
        };
        tokio::select! {
            () = finish => {}
            () = sleep(deadline + CUT_WITHIN) => {}
            () = stop.cancelled() => {}
        }
        let cut = cut.max(self.sessions.open_total());
        if cut > 0 {
            warn!(sessions = cut, "sessions cut at the end of the drain");
        }
        self.tokens.cut.cancel();
        self.neighbours.close();
        tokio::join!(self.tunnels.close(), self.guests.close());
        drop(timeout(CUT_WITHIN, self.dispatcher.finished()).await);
        cut
    }
}

fn machine(config: &GatewayConfig) -> warren_tunnel::Config {
    warren_tunnel::Config {
        ping_every: config.tunnel.ping,
        suspect_after: config.tunnel.suspect,
        dead_after: config.tunnel.dead,
        resume_within: config.tunnel.resume_within,
        ..Default::default()
    }
}
