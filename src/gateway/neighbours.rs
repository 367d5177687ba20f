//! The other gateways on the same store, to pass callers on to whose group has no tunnel here.
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
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use warren_core::id::{GatewayId, GroupId, Name};
use warren_tunnel::{Handle, Liveness};

use crate::metrics;

mod guests;
mod links;
#[cfg(test)]
mod tests;

pub(crate) use guests::Guests;
pub(crate) use links::Links;

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
    /// There may be others.
    sought: AtomicBool,
}

/// Another gateway, and the tunnel to it.
#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    pub(crate) gateway: GatewayId,
    pub(crate) tunnel: Handle,
}

impl Neighbours {
    /// Whom to ask for a member of the group, in this order.
    pub(crate) fn choices(&self, group: GroupId) -> Vec<Neighbour> {
        let links = read(&self.shared.links);
        let well = |tunnel: &Handle| {
            let status = tunnel.status();
            let status = status.borrow();
            status.closed.is_none() && status.peer_drain.is_none() && status.liveness == Liveness::Alive
        };
        let mut choices: Vec<_> = links
            .iter()
            .filter(|(_, (_, tunnel))| well(tunnel))
            .map(|(gateway, (_, tunnel))| Neighbour { gateway: *gateway, tunnel: tunnel.clone() })
            .collect();
        let taker = read(&self.shared.takers).get(&group).copied();
        choices.sort_by_key(|choice| Some(choice.gateway) != taker);
        choices
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
    fn up(&self, gateway: GatewayId, tunnel: Handle) -> u64 {
        let number = self.shared.links_made.fetch_add(1, Relaxed) + 1;
        let mut links = write(&self.shared.links);
        links.insert(gateway, (number, tunnel));
        metrics::neighbours(links.len());
        number
    }

    fn down(&self, gateway: GatewayId, number: u64) {
        let mut links = write(&self.shared.links);
        if links.get(&gateway).is_some_and(|(newest, _)| *newest == number) {
            links.remove(&gateway);
        }
        metrics::neighbours(links.len());
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
