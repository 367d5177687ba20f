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
//! reserve ─▶ bound, nobody is accepted ─▶ kept in the store ─ commit
//!                    └─ dropped: freed              └─ released: forgotten
//! ```

use std::{
    collections::{BTreeMap, btree_map},
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
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
    store::{ListenAt, ListenerRecord, Store, StoreError},
};

pub(crate) mod accept;
pub(crate) mod bind;
mod keep;
#[cfg(test)]
mod tests;

/// How long a member that has not heard yet may go on naming a resource that another gateway has closed.
const LET_GO_FOR: Duration = Duration::from_secs(10);

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
        if let Some(reservation) = self.shared.clone().take_up(&key, wish) {
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

/// An address that is bound for a resource; freed when dropped.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    key: Key,
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// The store has it.
    kept: bool,
    /// It listened before, and is left as it was when nothing comes of this.
    taken_up: bool,
}

impl Reservation {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the store keep the address: from here on the resource listens there even if we die before the commit. Should
    /// it never come to exist, the address is given up as that of a resource that is gone.
    pub async fn keep(&mut self) -> Result<(), IngressError> {
        if self.kept {
            return Ok(());
        }
        let (group, resource) = self.key.clone();
        let at = ListenAt::of(self.address, self.shared.host);
        let record = ListenerRecord { group, resource, at };
        let kept = self.shared.store.keep_listener(&record).await.map_err(|error| match error {
            // Of a resource that waits for it to be free.
            StoreError::Taken { .. } => IngressError::InUse { address: self.address },
            error => error.into(),
        })?;
        if kept != record {
            // Another gateway was faster.
            let address = kept.at.on(self.shared.host);
            return Err(IngressError::Listening { resource: kept.resource, address });
        }
        self.kept = true;
        Ok(())
    }

    /// Gives the address up, in the store too. One that was taken up stays: whether its resource exists is not said by a
    /// refusal, and it is closed as that of a resource that is gone if it does not.
    pub async fn release(self) {
        if !self.taken_up {
            self.shared.close(&self.key).await;
        }
    }

    /// Begins to accept callers; keeps the address in the store if that was not done.
    pub async fn commit(mut self) -> Result<SocketAddr, IngressError> {
        self.keep().await?;
        let stop = self.shared.lock().get_mut(&self.key).map(|entry| {
            entry.reserved = false;
            entry.stop.clone()
        });
        let Some(stop) = stop else {
            // Closed meanwhile.
            self.shared.forget(&self.key).await;
            return Err(IngressError::Stopping);
        };
        if let Some(listener) = self.listener.take() {
            self.shared.clone().accept(self.key.clone(), listener, stop);
        }
        Ok(self.address)
    }
}

impl Reservation {
    fn bind(&mut self, wish: Option<SocketAddr>) -> Result<(), IngressError> {
        let any = |host| bind::bind_any(host, self.shared.ports, rand::random());
        let listener = match wish {
            Some(address) if address.port() == 0 => any(address.ip()),
            Some(address) => bind::bind(address),
            None => any(self.shared.host),
        }?;
        let address = bind::local_address(&listener)?;
        if let Some(entry) = self.shared.lock().get_mut(&self.key) {
            entry.address = Some(address);
        }
        (self.address, self.listener) = (address, Some(listener));
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut entries = self.shared.lock();
        if let btree_map::Entry::Occupied(mut entry) = entries.entry(self.key.clone())
            && entry.get().reserved
        {
            if self.taken_up {
                entry.get_mut().reserved = false;
            } else {
                entry.remove();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that the resource has already, if it is what is wished for and nobody makes the resource right now.
    fn take_up(self: Arc<Self>, key: &Key, wish: Option<SocketAddr>) -> Option<Reservation> {
        let mut entries = self.lock();
        let entry = entries.get_mut(key).filter(|entry| !entry.reserved && !self.stop.is_cancelled())?;
        let fits = |address: &SocketAddr| match wish {
            Some(wish) => wish.ip() == address.ip() && [0, address.port()].contains(&wish.port()),
            None => address.ip() == self.host,
        };
        let address = entry.address.filter(fits)?;
        entry.reserved = true;
        drop(entries);
        Some(Reservation {
            shared: self,
            key: key.clone(),
            address,
            listener: None,
            // It may have been given up meanwhile, through another gateway.
            kept: false,
            taken_up: true,
        })
    }

    /// Takes the resource's place, so that nobody else binds for it at the same time.
    fn claim(self: Arc<Self>, key: Key) -> Result<Reservation, IngressError> {
        if self.stop.is_cancelled() {
            return Err(IngressError::Stopping);
        }
        let unspecified = SocketAddr::new(self.host, 0);
        let mut entries = self.lock();
        match entries.entry(key.clone()) {
            btree_map::Entry::Occupied(entry) => {
                let address = entry.get().address.unwrap_or(unspecified);
                return Err(IngressError::Listening { resource: key.1, address });
            }
            btree_map::Entry::Vacant(place) => {
                let stop = self.stop.child_token();
                place.insert(Entry { address: None, stop, reserved: true, seen_in_store: false });
            }
        }
        drop(entries);
        Ok(Reservation {
            shared: self,
            key,
            address: unspecified,
            listener: None,
            kept: false,
            taken_up: false,
        })
    }

    fn follow(self: &Arc<Self>, kept: Vec<ListenerRecord>) -> bool {
        let kept: BTreeMap<Key, SocketAddr> = kept
            .into_iter()
            .map(|record| ((record.group, record.resource), record.at.on(self.host)))
            .collect();
        let (gone, passed_over) = {
            let mut entries = self.lock();
            let stale = entries.iter().filter(|(key, entry)| match kept.get(key) {
                // What was kept a moment ago is not in what was read before.
                None => entry.seen_in_store,
                Some(address) => entry.address != Some(*address),
            });
            let (held, free): (Vec<_>, Vec<_>) = stale.partition(|(_, entry)| entry.reserved);
            let (gone, passed_over): (Vec<Key>, _) =
                (free.into_iter().map(|(key, _)| key.clone()).collect(), !held.is_empty());
            for (key, entry) in entries.iter_mut().filter(|(_, entry)| !entry.reserved) {
                entry.seen_in_store = kept.contains_key(key);
            }
            (gone, passed_over)
        };
        for key in &gone {
            self.clone().let_go(key);
        }
        for (key, address) in kept {
            if !self.lock().contains_key(&key) && !self.stop.is_cancelled() {
                self.clone().restore(key, address);
            }
        }
        !passed_over
    }

    /// Closes what another gateway has closed.
    fn let_go(&self, key: &Key) {
        let Some(entry) = self.lock().remove(key) else { return };
        entry.stop.cancel();
        let (now, mut let_go) = (Instant::now(), self.lock_let_go());
        let_go.retain(|_, at| now.duration_since(*at) < LET_GO_FOR);
        let_go.insert(key.clone(), now);
        info!(group = %key.0, resource = %key.1, "resource closed to callers, by another gateway");
    }

    fn lock_let_go(&self) -> MutexGuard<'_, BTreeMap<Key, Instant>> {
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_let_go(&self, key: &Key) -> bool {
        self.lock_let_go().get(key).is_some_and(|at| at.elapsed() < LET_GO_FOR)
    }

    fn restore(self: Arc<Self>, key: Key, address: SocketAddr) {
        let stop = self.stop.child_token();
        let entry =
            Entry { address: Some(address), stop: stop.clone(), reserved: false, seen_in_store: true };
        self.lock().insert(key.clone(), entry);
        match bind::bind(address) {
            Ok(listener) => self.accept(key, listener, stop),
            Err(error) => {
                warn!(resource = %key.1, %address, error = &error as &dyn Error, "address not free, it is tried again");
                let shared = self.clone();
                self.tasks.spawn(async move {
                    tokio::select! {
                        listener = bind::bind_patiently(address) => shared.accept(key, listener, stop),
                        () = stop.cancelled() => {}
                    }
                });
            }
        }
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
                let wanted = Wanted { group, meters: meters.clone(), resource: resource.clone() };
                shared.dispatcher.take(socket, from, wanted);
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
