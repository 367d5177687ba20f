//! A host and port for each resource.
//!
//! Whoever makes a resource through this gateway reserves its port first ([`Ingress::reserve`]); a resource that came to
//! the group another way gets one by itself. Addresses are kept in the store, so that a restart binds the same, and so do
//! the other gateways ([`Ingress::follow`]). A port stays open while no agent is there: callers wait a little, then are
//! reset.
//!
//! ```text
//! (store) ─▶ waiting for the address to be free ─▶ listening ─▶ closed when its resource is gone for 10 s, or the
//!                                                     ▲          store does not have it any more
//! reservation ─────────── commit ─────────────────────┘
//! ```

use std::{
    collections::{BTreeMap, btree_map},
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use warren_core::id::{GroupId, Name};

use crate::{
    config::PortRange,
    dispatch::Dispatcher,
    metrics::SessionMeters,
    registry::Registry,
    sessions::Wanted,
    store::{Store, StoreError},
};

pub(crate) mod accept;
pub(crate) mod bind;
mod follow;
mod keep;
mod reservation;
#[cfg(test)]
mod tests;

pub use reservation::Reservation;

/// Why a resource has no address.
#[derive(Debug, Error)]
pub enum IngressError {
    #[error(
        "`{text}` is not an address to listen on, expected HOST:PORT with an IP address, such as 127.0.0.1:5432"
    )]
    Address { text: String },
    #[error("{address} is in use, choose another one or port 0")]
    InUse { address: SocketAddr },
    #[error("resource `{resource}` listens on {address} already")]
    Listening { resource: Name, address: SocketAddr },
    #[error("every port from {low} to {high} is in use, widen ingress.ports")]
    NoPort { low: u16, high: u16 },
    #[error("cannot listen on {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("gateway stops")]
    Stopping,
}

impl IngressError {
    /// A stable word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "bad_address",
            Self::InUse { .. } => "address_in_use",
            Self::Listening { .. } => "listening",
            Self::NoPort { .. } => "no_port",
            Self::Bind { .. } => "cannot_listen",
            Self::Store(_) => "store",
            Self::Stopping => "stopping",
        }
    }
}

type Key = (GroupId, Name);

/// Handle to the listeners of one gateway process.
#[derive(Debug, Clone)]
pub struct Ingress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    entries: Mutex<BTreeMap<Key, Entry>>,
    /// What another gateway has closed, and when: our members may not have heard yet that the resource is gone.
    let_go: Mutex<BTreeMap<Key, Instant>>,
    host: IpAddr,
    ports: PortRange,
    store: Arc<dyn Store>,
    registry: Registry,
    dispatcher: Dispatcher,
    tasks: TaskTracker,
    /// Ends every accept loop.
    stop: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    /// Absent while the port is being chosen.
    address: Option<SocketAddr>,
    /// Ends its accept loop, or its wait for the address.
    stop: CancellationToken,
    /// Ends the wait for its address to be free; absent once it is bound.
    waits: Option<CancellationToken>,
    /// Held by a reservation.
    reserved: bool,
    /// The store had it when it was last looked at.
    seen_in_store: bool,
}

impl Ingress {
    /// New listeners bind `host` and a port of `ports`. `stop` ends all accepting.
    pub fn new(
        (host, ports): (IpAddr, PortRange),
        store: Arc<dyn Store>,
        registry: Registry,
        dispatcher: Dispatcher,
        stop: CancellationToken,
    ) -> Self {
        let (entries, let_go, tasks) = (Mutex::default(), Mutex::default(), TaskTracker::new());
        let shared = Shared { entries, let_go, host, ports, store, registry, dispatcher, tasks, stop };
        Self { shared: Arc::new(shared) }
    }

    /// Binds an address for a resource that is about to be made. `listen` is HOST:PORT, port 0 for any; `None` lets the
    /// gateway choose. Nobody is accepted before [`Reservation::commit`]. If an earlier try, of which nobody knows what became,
    /// has left the resource an address that fits, it is that one.
    pub fn reserve(
        &self,
        group: GroupId,
        resource: &Name,
        listen: Option<&str>,
    ) -> Result<Reservation, IngressError> {
        let wish = listen.filter(|text| !text.is_empty()).map(bind::parse).transpose()?;
        let key = (group, resource.clone());
        if let Some(reservation) = self.shared.clone().take_up(&key, wish)? {
            return Ok(reservation);
        }
        let mut reservation = self.shared.clone().claim(key)?;
        reservation.bind(wish)?;
        Ok(reservation)
    }

    /// Where callers of a resource connect.
    pub fn address(&self, group: GroupId, resource: &Name) -> Option<SocketAddr> {
        self.shared.lock().get(&(group, resource.clone())).and_then(|entry| entry.address)
    }

    /// Stops accepting for a resource that is gone, and forgets its address. Sessions that are open go on.
    pub async fn close(&self, group: GroupId, resource: &Name) {
        self.shared.close(&(group, resource.clone())).await;
    }

    /// The same for every resource of a group.
    pub async fn close_group(&self, group: GroupId) {
        let keys: Vec<_> = self.shared.lock().keys().filter(|(of, _)| *of == group).cloned().collect();
        for key in keys {
            self.shared.close(&key).await;
        }
    }

    /// Binds what the store says, and closes what it said before and does not say any more. An address that is taken is
    /// tried again until it is free. False when a resource had to be passed over, since somebody makes it right now, for
    /// which the store says something else: then this is to be called again.
    pub async fn follow(&self) -> Result<bool, StoreError> {
        let kept = self.shared.store.listeners().await?;
        Ok(self.shared.follow(kept))
    }

    /// Gives resources that appear in their groups an address, and closes those that are gone, until `stop`.
    pub async fn run(&self) {
        keep::run(&self.shared).await;
    }

    /// Waits until no accept loop is left; to be called after `stop`.
    pub async fn finished(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, key: Key, listener: TcpListener, stop: CancellationToken) {
        let (group, resource) = key;
        info!(%group, %resource, address = ?listener.local_addr().ok(), "resource listens");
        let shared = self.clone();
        self.tasks.spawn(async move {
            let mut meters = SessionMeters::of(shared.registry.label(group));
            let take = |socket, from| {
                let label = shared.registry.label(group);
                if label != meters.label {
                    meters = SessionMeters::of(label);
                }
                let wanted = Wanted { group, resource: resource.clone() };
                shared.dispatcher.take(socket, from, wanted, meters.clone());
            };
            accept::run(&listener, take, &stop).await;
        });
    }

    async fn close(&self, key: &Key) {
        let entry = self.lock().remove(key);
        self.closed(key, entry).await;
    }

    /// As [`Self::close`], unless somebody makes the resource right now.
    async fn close_unless_reserved(&self, key: &Key) {
        let entry = match self.lock().entry(key.clone()) {
            btree_map::Entry::Occupied(entry) if !entry.get().reserved => Some(entry.remove()),
            _ => None,
        };
        self.closed(key, entry).await;
    }

    async fn closed(&self, key: &Key, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        entry.stop.cancel();
        let (group, resource) = key;
        info!(%group, %resource, "resource closed to callers");
        self.forget(key).await;
    }

    async fn forget(&self, key: &Key) {
        let (group, resource) = key;
        if let Err(error) = self.store.delete_listener(*group, resource).await {
            warn!(%group, %resource, error = &error as &dyn Error, "listener not forgotten by the store");
        }
    }
}
