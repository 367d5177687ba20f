//! One group: its members, their tunnels, and the balancer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};
use tonic::transport::Channel;
use tracing::{debug, info};
use warren_core::{
    balance::{Balancer, Opened, Reach, RetryBudget},
    id::{AgentId, GroupId, Name},
    state::Revision,
    view::Word,
};
use warren_tunnel::{CloseReason, Liveness};
use warren_wire::{convert::Snapshot, v1::control_client::ControlClient};

use super::{
    GroupObserved, MemberObserved, NotAdmitted, Tunnel, judge::Stand, read, tunnel::SLOTS_MAX, write,
};

#[derive(Debug)]
pub(crate) struct Group {
    pub(super) id: GroupId,
    /// What people call it, once that is known.
    label: RwLock<Option<Arc<str>>>,
    state: Mutex<State>,
    stand: Mutex<Stand>,
    changed: watch::Sender<u64>,
    /// Whether the store knows that the group's log exists.
    pub(crate) founded: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) members: BTreeMap<AgentId, Member>,
    /// What the best-informed member last said. Outlives the tunnels, so that listeners stay what they are.
    pub(super) view: Option<Arc<Snapshot>>,
    /// The latest that any member has told of: the group was recovered, and nobody of an earlier one is asked or heard.
    epoch: u64,
    pub(super) balancer: Balancer,
    budget: RetryBudget,
}

/// An agent that has, or lately had, a tunnel.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) tunnels: Vec<Arc<Tunnel>>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Sessions on it, those being opened included.
    pub(super) sessions: Arc<AtomicU32>,
    /// The control service, through the tunnel of that number.
    control: Option<(u64, ControlClient<Channel>)>,
    /// Whoever of its tunnels holds it watches the group.
    turn: Arc<Semaphore>,
}

impl Group {
    pub(super) fn new(id: GroupId, now: Instant) -> Self {
        let state = State {
            members: BTreeMap::new(),
            view: None,
            epoch: 0,
            balancer: Balancer::default(),
            budget: RetryBudget::new(now),
        };
        Self {
            id,
            label: RwLock::default(),
            state: Mutex::new(state),
            stand: Mutex::default(),
            changed: watch::Sender::new(0),
            founded: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self, label: &str) {
        *write(&self.label) = Some(label.into());
    }

    pub(super) fn is_named(&self) -> bool {
        read(&self.label).is_some()
    }

    pub(super) fn label(&self) -> Arc<str> {
        read(&self.label).clone().unwrap_or_else(|| self.id.to_string().into())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn touch(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(&self, tunnel: &Arc<Tunnel>, now: Instant) -> Result<(), NotAdmitted> {
        let mut state = self.lock();
        let member = state.members.entry(tunnel.agent).or_insert_with(Member::new);
        let came = member.fence(tunnel)?;
        member.tunnels.push(tunnel.clone());
        if came {
            state.balancer.arrived(tunnel.agent, now);
        }
        drop(state);
        self.touch();
        Ok(())
    }

    pub(super) fn remove(&self, tunnel: &Tunnel) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(&tunnel.agent) else { return };
        member.tunnels.retain(|kept| kept.number != tunnel.number);
        member.control.take_if(|(number, _)| *number == tunnel.number);
        if member.tunnels.is_empty() {
            state.balancer.left(tunnel.agent, Instant::now());
            let known = state.view.as_ref().is_some_and(|view| view.members.contains_key(&tunnel.agent));
            if !known {
                state.members.remove(&tunnel.agent);
            }
        }
        drop(state);
        self.touch();
    }

    /// Closes the tunnels of one member, or of all.
    pub(super) fn cut(&self, agent: Option<AgentId>, reason: CloseReason) -> usize {
        let mut state = self.lock();
        let mut cut = 0;
        for (id, member) in &state.members {
            if agent.is_none_or(|agent| agent == *id) {
                member.tunnels.iter().for_each(|tunnel| tunnel.handle.close(reason, "cut by the gateway"));
                cut += member.tunnels.len();
            }
        }
        if reason == CloseReason::Revoked {
            let revoked = |id: &&AgentId| agent.is_none_or(|agent| agent == **id);
            let gone: Vec<_> = state.members.keys().filter(revoked).copied().collect();
            for id in gone {
                state.members.remove(&id);
                // Its tunnels are not found here any more when they end.
                state.balancer.left(id, Instant::now());
            }
        }
        drop(state);
        self.touch();
        cut
    }

    pub(super) fn observe(&self, agent: AgentId, snapshot: Snapshot) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(&agent) else { return };
        member.snapshot = Some(Arc::new(snapshot));
        state.choose_view();
        if let Some(view) = state.view.clone() {
            state.balancer.retain_resources(|resource| view.resources.contains_key(resource));
            state.members.retain(|id, member| !member.tunnels.is_empty() || view.members.contains_key(id));
        }
        drop(state);
        self.touch();
    }

    pub(crate) fn opened(&self, agent: AgentId, opened: Opened, now: Instant) {
        let mut state = self.lock();
        let before = state.balancer.ejected_until(agent, now);
        state.balancer.observe(agent, opened, now);
        let after = state.balancer.ejected_until(agent, now);
        if before != after
            && let Some(until) = after
        {
            let seconds = until.saturating_duration_since(now).as_secs();
            info!(group = %self.id, member = %agent, seconds, "member ejected, opens on it failed again and again");
        }
    }

    /// A session reached its target through `agent` after `took`; through the `others` it had not.
    pub(crate) fn reached(
        &self,
        agent: AgentId,
        others: &[AgentId],
        resource: (&Name, Revision),
        took: Duration,
        now: Instant,
    ) {
        let ((resource, revision), mut state) = (resource, self.lock());
        state.balancer.observe(agent, Opened::Ok(took), now);
        state.balancer.observe_path(agent, resource, revision, Reach::Reached, now);
        for other in others {
            state.balancer.observe_path(*other, resource, revision, Reach::Missed, now);
        }
    }

    /// Members that get nothing because opens on them failed.
    #[cfg(test)]
    pub(crate) fn ejected(&self, now: Instant) -> Vec<AgentId> {
        let state = self.lock();
        let ejected = |id: &&AgentId| state.balancer.ejected_until(**id, now).is_some();
        state.members.keys().filter(ejected).copied().collect()
    }

    pub(super) fn stand<T>(&self, with: impl FnOnce(&mut Stand) -> T) -> T {
        with(&mut self.stand.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn first_try(&self) {
        self.lock().budget.first_try();
    }

    pub(crate) fn may_retry(&self, now: Instant) -> bool {
        self.lock().budget.take(now)
    }

    pub(super) fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        self.lock().members.values().flat_map(|member| member.tunnels.clone()).collect()
    }

    /// Whether anything is heard of it.
    pub(crate) fn has_tunnels(&self) -> bool {
        self.lock().members.values().any(|member| !member.tunnels.is_empty())
    }

    pub(super) fn view(&self) -> Option<Arc<Snapshot>> {
        self.lock().view.clone()
    }

    pub(super) fn observe_all(&self) -> GroupObserved {
        let label = self.label();
        let state = self.lock();
        let members = state.members.iter().map(|(id, member)| {
            let observed = MemberObserved {
                tunnels: member.tunnels.iter().map(|tunnel| tunnel.observe()).collect(),
                sessions: member.sessions.load(Relaxed),
                snapshot: member.snapshot.clone(),
            };
            (*id, observed)
        });
        GroupObserved { group: self.id, label, view: state.view.clone(), members: members.collect() }
    }

    /// Whose holder watches the group through the agent's tunnels.
    pub(crate) fn control_turn(&self, agent: AgentId) -> Option<Arc<Semaphore>> {
        self.lock().members.get(&agent).map(|member| member.turn.clone())
    }

    pub(crate) fn set_control(&self, tunnel: &Tunnel, client: ControlClient<Channel>) {
        if let Some(member) = self.lock().members.get_mut(&tunnel.agent) {
            member.control = Some((tunnel.number, client));
        }
        self.touch();
    }

    pub(crate) fn clear_control(&self, tunnel: &Tunnel) {
        if let Some(member) = self.lock().members.get_mut(&tunnel.agent) {
            member.control.take_if(|(number, _)| *number == tunnel.number);
        }
    }

    /// Control services of the members, the leader's first.
    pub(super) fn controls(&self) -> Vec<(AgentId, ControlClient<Channel>)> {
        let state = self.lock();
        let leader = state.view.as_ref().and_then(|view| view.leader);
        let mut controls: Vec<_> = state
            .members
            .iter()
            .filter(|(_, member)| member.snapshot.as_ref().is_none_or(|told| told.epoch >= state.epoch))
            .filter_map(|(id, member)| Some((*id, member.control.as_ref()?.1.clone())))
            .collect();
        controls.sort_by_key(|(id, _)| Some(*id) != leader);
        controls
    }
}

impl State {
    /// Of those of the latest epoch, takes the best word there is, unless more is known already: then only how the group does
    /// now is taken from it.
    fn choose_view(&mut self) {
        let present = self.members.values().filter(|member| !member.tunnels.is_empty());
        let mut said: Vec<_> = present.filter_map(|member| member.snapshot.as_ref()).collect();
        self.epoch = said.iter().map(|said| said.epoch).fold(self.epoch, u64::max);
        said.retain(|said| said.epoch >= self.epoch);
        let Some(best) = Word::best(said.iter().map(|said| word(said))).map(|index| said[index].clone())
        else {
            return;
        };
        self.view = Some(match self.view.take() {
            Some(known) if !word(&best).supersedes(word(&known)) => {
                let (quorum, leader) = (best.quorum, best.leader);
                match (known.quorum, known.leader) == (quorum, leader) {
                    true => known,
                    false => Arc::new(Snapshot { quorum, leader, ..(*known).clone() }),
                }
            }
            _ => best,
        });
    }
}

fn word(said: &Snapshot) -> Word {
    Word { epoch: said.epoch, quorum: said.quorum, applied: said.applied, term: said.term }
}

impl Member {
    fn new() -> Self {
        Self {
            tunnels: Vec::new(),
            snapshot: None,
            sessions: Arc::default(),
            control: None,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Makes room for a newcomer; says whether the agent comes with it, for the first time or after a restart.
    fn fence(&mut self, new: &Tunnel) -> Result<bool, NotAdmitted> {
        let same = |old: &Tunnel| old.hello.boot == new.hello.boot;
        let stale = self
            .tunnels
            .iter()
            .any(|old| same(old) && old.hello.slot == new.hello.slot && old.hello.epoch >= new.hello.epoch);
        // Of two processes with one identity the later start wins, or each would fence the other for ever.
        let alive = |old: &Tunnel| old.state().0 != Liveness::Dead;
        let overtaken = self.tunnels.iter().any(|old| old.hello.boot > new.hello.boot && alive(old));
        if stale || overtaken {
            return Err(NotAdmitted::Stale);
        }
        // An agent that restarted is one process: whatever its former boot left is dead or about to be.
        let fenced = |old: &Arc<Tunnel>| !same(old) || old.hello.slot == new.hello.slot;
        let kept = self.tunnels.iter().filter(|old| !fenced(old)).count();
        if kept >= SLOTS_MAX {
            return Err(NotAdmitted::TooMany);
        }
        let restarted = self.tunnels.iter().any(|old| !same(old));
        if restarted {
            // The new process may know less than the old one said, and waits for nothing that the old one holds.
            self.snapshot = None;
            self.control = None;
            self.turn = Arc::new(Semaphore::new(1));
        }
        let came = self.tunnels.is_empty() || restarted;
        for old in self.tunnels.extract_if(.., |old| fenced(old)) {
            debug!(member = %old.agent, tunnel = old.number, slot = old.hello.slot, "tunnel fenced by a newer one");
            old.handle.close(CloseReason::Fenced, "a newer connection of this agent took its place");
        }
        Ok(came)
    }
}
