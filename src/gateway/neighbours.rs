//! The other gateways on the same store, to pass callers and calls on to whose group has no tunnel here.
//!
//! ```text
//! caller ─▶ this gateway ══ tunnel, mutual TLS ══▶ another one ══▶ agent ─▶ target
//!              links: dials every other one          guests: takes what they pass on
//! ```
//! Towards the one that it dials, a gateway is what it is towards an agent: it asks for sessions. So each has a tunnel *to*
//! every other one, and one *from* it. A session goes on when its tunnel breaks and is made again, as those of agents do.
//! Who holds which group is not written down anywhere: a gateway that has nobody for a group asks the others, first the one
//! that took the group's last caller, and whoever has nobody says so at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};
use warren_core::id::{GatewayId, GroupId, Name};
use warren_tunnel::{Bundles, Config, Handle, Liveness, Status};

use crate::metrics;

pub(crate) mod calls;
mod guests;
mod links;
mod shares;
#[cfg(test)]
mod tests;
mod turns;

pub(crate) use guests::Guests;
pub(crate) use links::Links;
pub(crate) use shares::{Share, Shares};
use turns::Turns;

/// Groups of which it is remembered who took their last caller; when there are more, that begins anew.
const TAKERS_MAX: usize = 100_000;

/// Those that can be reached. Cheap to clone; empty by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbours {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The newest to each, with its number.
    links: RwLock<BTreeMap<GatewayId, (u64, Handle)>>,
    links_made: AtomicU64,
    takers: RwLock<BTreeMap<GroupId, GatewayId>>,
    turns: Turns,
    /// Counts tunnels that came up.
    came: watch::Sender<u64>,
    /// Of the tunnel to each, whichever it is at the moment: sessions go on over the next one.
    rooms: RwLock<BTreeMap<GatewayId, Room>>,
    /// Of the tunnels to all of them.
    bundles: OnceLock<Bundles>,
    /// There may be others.
    sought: AtomicBool,
    /// Calls that ask all others at once.
    wide: Wide,
}

/// Few: each may bring a long list from each gateway.
const WIDE_MAX: usize = 4;

#[derive(Debug)]
struct Wide(Semaphore);

impl Default for Wide {
    fn default() -> Self {
        Self(Semaphore::new(WIDE_MAX))
    }
}

/// Another gateway, and the tunnel to it.
#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    pub(crate) gateway: GatewayId,
    pub(crate) tunnel: Handle,
    pub(crate) room: Room,
}

/// What groups share of the tunnel to a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// Opens without an answer.
    pub(crate) opens: Shares,
    pub(crate) sessions: Shares,
}

impl Default for Room {
    fn default() -> Self {
        let Config { sessions_max, pending_opens_max, .. } = Config::default();
        Self { opens: Shares::new(pending_opens_max), sessions: Shares::new(sessions_max) }
    }
}

impl Neighbours {
    /// Whom to ask for a member of the group, in this order.
    pub(crate) fn choices(&self, group: GroupId) -> Vec<Neighbour> {
        let mut choices = self.all();
        let taker = read(&self.shared.takers).get(&group).copied();
        choices.sort_by_key(|choice| Some(choice.gateway) != taker);
        choices
    }

    /// Those that can be asked to take something.
    pub(crate) fn all(&self) -> Vec<Neighbour> {
        self.with(|status| status.peer_drain.is_none())
    }

    /// Those that can be asked what they know: also those that take nothing new.
    pub(crate) fn hearing(&self) -> Vec<Neighbour> {
        self.with(|_| true)
    }

    fn with(&self, wanted: impl Fn(&Status) -> bool) -> Vec<Neighbour> {
        let links = read(&self.shared.links);
        let fits = |tunnel: &Handle| {
            let status = tunnel.status();
            let status = status.borrow();
            status.closed.is_none() && status.liveness == Liveness::Alive && wanted(&status)
        };
        links
            .iter()
            .filter(|(_, (_, tunnel))| fits(tunnel))
            .map(|(gateway, (_, tunnel))| (*gateway, tunnel.clone()))
            .map(|(gateway, tunnel)| Neighbour { gateway, tunnel, room: self.room(gateway) })
            .collect()
    }

    /// Takes the turn to ask for the resource; or tells when the next one is.
    pub(crate) fn turn(&self, group: GroupId, resource: &Name) -> Result<(), Instant> {
        self.shared.turns.take(group, resource, Instant::now())
    }

    /// Whoever had the turn was told no by all; tells when the next one is.
    pub(crate) fn asked_in_vain(&self, group: GroupId, resource: &Name) -> Instant {
        self.shared.turns.in_vain(group, resource, Instant::now())
    }

    /// Marks that there is somebody new to ask.
    pub(crate) fn came(&self) -> watch::Receiver<u64> {
        self.shared.came.subscribe()
    }

    /// Somebody who asked for the resource was taken; says whether others may wait for that.
    pub(crate) fn turns_are_over(&self, group: GroupId, resource: &Name) -> bool {
        self.shared.turns.are_over(group, resource)
    }

    /// That gateway has taken a caller of the group.
    pub(crate) fn took(&self, group: GroupId, gateway: GatewayId) {
        if read(&self.shared.takers).get(&group) == Some(&gateway) {
            return;
        }
        let mut takers = write(&self.shared.takers);
        if takers.len() >= TAKERS_MAX {
            takers.clear();
        }
        takers.insert(group, gateway);
    }

    /// What carries the sessions of the tunnels to them; made once.
    fn bundles(&self, make: impl FnOnce() -> Bundles) -> Bundles {
        self.shared.bundles.get_or_init(make).clone()
    }

    /// Whether this gateway has its store for itself.
    pub(crate) fn is_alone(&self) -> bool {
        !self.shared.sought.load(Relaxed)
    }

    /// There may be others, whether or not a tunnel to one is up yet.
    pub(crate) fn seek(&self) {
        self.shared.sought.store(true, Relaxed);
        metrics::neighbours(read(&self.shared.links).len());
    }

    /// Takes the place of the one that there was; gives the tunnel's number.
    pub(crate) fn up(&self, gateway: GatewayId, tunnel: Handle) -> u64 {
        let number = self.shared.links_made.fetch_add(1, Relaxed) + 1;
        let mut links = write(&self.shared.links);
        links.insert(gateway, (number, tunnel));
        metrics::neighbours(links.len());
        drop(links);
        self.shared.turns.begin_anew();
        self.shared.came.send_modify(|came| *came += 1);
        number
    }

    fn down(&self, gateway: GatewayId, number: u64) {
        let mut links = write(&self.shared.links);
        if links.get(&gateway).is_some_and(|(newest, _)| *newest == number) {
            links.remove(&gateway);
        }
        metrics::neighbours(links.len());
    }

    /// Forgets what was shared of tunnels to gateways that are no more; what is held of it is given back to itself.
    pub(crate) fn keep_rooms(&self, of: &BTreeSet<GatewayId>) {
        write(&self.shared.rooms).retain(|gateway, _| of.contains(gateway));
    }

    fn room(&self, gateway: GatewayId) -> Room {
        if let Some(room) = read(&self.shared.rooms).get(&gateway) {
            return room.clone();
        }
        write(&self.shared.rooms).entry(gateway).or_default().clone()
    }

    /// The turn to ask all others at once, for as long as it is held.
    pub(crate) async fn wide(&self) -> Option<SemaphorePermit<'_>> {
        self.shared.wide.0.acquire().await.ok()
    }

    fn tunnels(&self) -> Vec<Handle> {
        read(&self.shared.links).values().map(|(_, tunnel)| tunnel.clone()).collect()
    }
}

/// How a gateway names a resource to another one.
pub(crate) fn place(group: GroupId, resource: &Name) -> String {
    format!("{group}/{resource}")
}

fn of_place(text: &str) -> Option<(GroupId, Name)> {
    let (group, resource) = text.split_once('/')?;
    Some((group.parse().ok()?, resource.parse().ok()?))
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
