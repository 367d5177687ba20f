//! Who is there: every verified tunnel, and what each group says of itself.
//!
//! Tunnels come in by [`Registry::admit`] once an echo went through them, so that whatever is listed here carries data.
//! Snapshots of the group come in by [`Registry::observe`]. Out go plans for sessions ([`Group::plan`]), proposals to
//! the group ([`Registry::propose`]), and pictures for people ([`Registry::group`]).
//!
//! One lock per group, never held over an await.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::watch;
use warren_core::id::{AgentId, GroupId};
use warren_identity::PeerIdentity;
use warren_tunnel::{CloseReason, Handle, Hello};
use warren_wire::convert::Snapshot;

mod group;
mod judge;
mod observed;
mod plan;
mod propose;
#[cfg(test)]
mod tests;
mod tunnel;

pub(crate) use group::Group;
pub use judge::{Judgement, Standing, judge};
pub use observed::{GroupObserved, MemberObserved, TunnelObserved};
pub(crate) use plan::{Asked, Chosen, Lease, Planned};
pub use propose::ProposeError;
pub(crate) use tunnel::{NotAdmitted, Tunnel};

/// Handle to the registry of one gateway process.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    revoked: RwLock<BTreeSet<AgentId>>,
    tunnels_made: AtomicU64,
    /// Counts the changes of any group.
    changed: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                groups: RwLock::default(),
                revoked: RwLock::default(),
                tunnels_made: AtomicU64::new(0),
                changed: watch::Sender::new(0),
            }),
        }
    }
}

impl Registry {
    /// The group as this gateway sees it; `None` if none of its agents has had a tunnel since the gateway started.
    pub fn group(&self, group: GroupId) -> Option<Arc<GroupObserved>> {
        let observed = self.known(group)?.observe_all();
        (!observed.members.is_empty()).then(|| Arc::new(observed))
    }

    /// Who has enrolled in the group and was not revoked, as the store has it.
    pub(crate) fn enrolled(&self, group: GroupId, agents: Vec<AgentId>) {
        self.entry(group).stand(|stand| stand.enrolled = agents);
    }

    /// How the group and its members stand, and since when.
    pub(crate) fn standing(&self, group: GroupId, now_ms: u64) -> Standing {
        let group = self.entry(group);
        let observed = group.observe_all();
        let observed = (!observed.members.is_empty()).then_some(&observed);
        group.stand(|stand| stand.note(judge(observed, &stand.enrolled), now_ms))
    }

    /// Every group that has an agent, or lately had.
    pub fn groups(&self) -> Vec<Arc<GroupObserved>> {
        let ids: Vec<_> = read(&self.shared.groups).keys().copied().collect();
        ids.into_iter().filter_map(|id| self.group(id)).collect()
    }

    /// Every group that exists, also one whose agents have not come since the gateway started.
    pub(crate) fn named_groups(&self) -> Vec<GroupObserved> {
        let groups: Vec<_> = read(&self.shared.groups).values().cloned().collect();
        groups.iter().filter(|group| group.is_named()).map(|group| group.observe_all()).collect()
    }

    /// Closes the agent's tunnels, which resets its sessions; returns how many there were. When the reason is
    /// [`CloseReason::Revoked`], the agent is refused from then on.
    pub fn cut_agent(&self, agent: AgentId, reason: CloseReason) -> usize {
        if reason == CloseReason::Revoked {
            write(&self.shared.revoked).insert(agent);
        }
        let groups: Vec<_> = read(&self.shared.groups).values().cloned().collect();
        groups.iter().map(|group| group.cut(Some(agent), reason)).sum()
    }

    /// Closes the tunnels of the whole group and forgets it; returns how many there were.
    pub fn cut_group(&self, group: GroupId, reason: CloseReason) -> usize {
        let removed = write(&self.shared.groups).remove(&group);
        let cut = removed.map_or(0, |group| group.cut(None, reason));
        self.tell();
        cut
    }

    /// What the group is called from here on, by people and in metrics.
    pub fn name_group(&self, group: GroupId, label: &str) {
        self.entry(group).name(label);
    }

    pub(crate) fn label(&self, group: GroupId) -> Arc<str> {
        self.entry(group).label()
    }

    pub(crate) fn is_revoked(&self, agent: AgentId) -> bool {
        read(&self.shared.revoked).contains(&agent)
    }

    /// Marks any change of any group.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Marks changes of one group.
    pub(crate) fn changes_of(&self, group: GroupId) -> watch::Receiver<u64> {
        self.entry(group).changes()
    }

    /// Takes a tunnel in that has carried an echo. A newer boot of the agent fences its older tunnels, a newer
    /// connection of the same slot the one before; a revoked agent is refused.
    pub(crate) fn admit(
        &self,
        identity: &PeerIdentity,
        hello: Hello,
        handle: Handle,
    ) -> Result<Arc<Tunnel>, NotAdmitted> {
        let number = self.shared.tunnels_made.fetch_add(1, Relaxed) + 1;
        let tunnel = Arc::new(Tunnel::new(number, identity, hello, handle));
        self.entry(identity.group).admit(&tunnel, Instant::now())?;
        // A revocation either finds the tunnel in its group, or is found here.
        if self.is_revoked(identity.agent) {
            self.remove(&tunnel);
            return Err(NotAdmitted::Revoked);
        }
        self.tell();
        Ok(tunnel)
    }

    /// Forgets a tunnel that has ended.
    pub(crate) fn remove(&self, tunnel: &Tunnel) {
        if let Some(group) = self.known(tunnel.group) {
            group.remove(tunnel);
        }
        self.tell();
    }

    /// Takes in what a member says of its group.
    pub(crate) fn observe(&self, tunnel: &Tunnel, snapshot: Snapshot) {
        if let Some(group) = self.known(tunnel.group) {
            group.observe(tunnel.agent, snapshot);
        }
        self.tell();
    }

    /// A tunnel has become silent, or speaks again, or drains.
    pub(crate) fn touch(&self, group: GroupId) {
        if let Some(group) = self.known(group) {
            group.touch();
        }
        self.tell();
    }

    /// What each group last said of itself.
    pub(crate) fn views(&self) -> Vec<(GroupId, Arc<Snapshot>)> {
        let groups: Vec<_> = read(&self.shared.groups).values().cloned().collect();
        groups.iter().filter_map(|group| Some((group.id, group.view()?))).collect()
    }

    /// Whether anything is heard of the group.
    pub(crate) fn has_tunnels(&self, group: GroupId) -> bool {
        self.known(group).is_some_and(|group| group.has_tunnels())
    }

    /// Groups that have a name here.
    pub(crate) fn named(&self) -> Vec<GroupId> {
        let groups = read(&self.shared.groups);
        groups.values().filter(|group| group.is_named()).map(|group| group.id).collect()
    }

    /// Every tunnel of every group.
    pub(crate) fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        let groups: Vec<_> = read(&self.shared.groups).values().cloned().collect();
        groups.iter().flat_map(|group| group.tunnels()).collect()
    }

    pub(crate) fn entry(&self, group: GroupId) -> Arc<Group> {
        if let Some(known) = self.known(group) {
            return known;
        }
        let mut groups = write(&self.shared.groups);
        groups.entry(group).or_insert_with(|| Arc::new(Group::new(group, Instant::now()))).clone()
    }

    fn known(&self, group: GroupId) -> Option<Arc<Group>> {
        read(&self.shared.groups).get(&group).cloned()
    }

    fn tell(&self) {
        self.shared.changed.send_modify(|changes| *changes += 1);
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
