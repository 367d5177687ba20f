//! One gateway's process: tunnels, what members told, the balancer and the retry budget.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use warren_core::{
    balance::{Balancer, Candidate, Plan, RetryBudget, Tunnels, Wanted},
    id::{AgentId, Name},
    state::{GroupState, Intent, WEIGHT_DEFAULT},
    view::Word,
};

use super::{
    net::Node,
    queue::Ms,
    tunnel::{Said, TunnelId},
};

pub(crate) const SUSPECT: Ms = 4_000;
pub(crate) const DEAD: Ms = 8_000;

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) number: usize,
    pub(crate) is_alive: bool,
    pub(crate) frozen_until: Ms,
    pub(crate) boot: u32,
    /// Connections that are not verified yet.
    pub(crate) fresh: BTreeMap<TunnelId, Ms>,
    pub(crate) tunnels: BTreeMap<TunnelId, Tunnel>,
    pub(crate) members: BTreeMap<AgentId, Member>,
    /// What the best-informed member told.
    pub(crate) view: Option<(Word, Arc<GroupState>)>,
    pub(crate) balancer: Balancer,
    pub(crate) budget: RetryBudget,
    pub(crate) drains: u32,
}

#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) heard: Ms,
    pub(crate) drains: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) said: Option<Said>,
    pub(crate) in_flight: u32,
}

impl Gateway {
    pub(crate) fn new(number: usize, boot: u32, now: Instant) -> Self {
        Self {
            number,
            is_alive: true,
            frozen_until: 0,
            boot,
            fresh: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            members: BTreeMap::new(),
            view: None,
            balancer: Balancer::default(),
            budget: RetryBudget::new(now),
            drains: 0,
        }
    }

    pub(crate) fn node(&self) -> Node {
        Node::Gateway(self.number)
    }

    pub(crate) fn is_up(&self, now: Ms) -> bool {
        self.is_alive && self.frozen_until <= now
    }

    /// Takes a verified tunnel in; gives those that it fences.
    pub(crate) fn admit(
        &mut self,
        id: TunnelId,
        agent: AgentId,
        now: Ms,
        at: Instant,
    ) -> Option<Vec<TunnelId>> {
        let own = |other: &TunnelId| other.agent == id.agent;
        let mut known = self.tunnels.keys().filter(|other| own(other));
        let stale = |other: &TunnelId| {
            other.boot > id.boot || other.boot == id.boot && other.slot == id.slot && other.epoch >= id.epoch
        };
        if known.any(stale) {
            return None;
        }
        let fenced: Vec<_> = self
            .tunnels
            .keys()
            .filter(|other| own(other) && (other.boot != id.boot || other.slot == id.slot))
            .copied()
            .collect();
        let restarted = fenced.iter().any(|other| other.boot != id.boot);
        let came = restarted || !self.tunnels.keys().any(own);
        fenced.iter().for_each(|other| _ = self.tunnels.remove(other));
        self.tunnels.insert(id, Tunnel { heard: now, drains: false });
        let member = self.members.entry(agent).or_default();
        if restarted {
            member.said = None;
        }
        if came {
            self.balancer.arrived(agent, at);
        }
        Some(fenced)
    }

    /// Forgets a tunnel; says whether it was one.
    pub(crate) fn forget(&mut self, id: TunnelId, agent: AgentId, at: Instant) -> bool {
        self.fresh.remove(&id);
        let was = self.tunnels.remove(&id).is_some();
        if was && !self.has_tunnel(id.agent) {
            self.balancer.left(agent, at);
        }
        was
    }

    pub(crate) fn has_tunnel(&self, agent: usize) -> bool {
        self.tunnels.keys().any(|tunnel| tunnel.agent == agent)
    }

    pub(crate) fn hear(&mut self, agent: AgentId, said: Said, ids: &[AgentId]) {
        let Some(member) = self.members.get_mut(&agent) else { return };
        member.said = Some(said);
        let present = ids.iter().enumerate().filter(|(number, _)| self.has_tunnel(*number));
        let said: Vec<_> = present.filter_map(|(_, id)| self.members.get(id)?.said.as_ref()).collect();
        let Some(best) = Word::best(said.iter().map(|said| said.word)).map(|index| said[index]) else {
            return;
        };
        let newer = self.view.as_ref().is_none_or(|(known, _)| best.word.supersedes(*known));
        if newer {
            self.view = Some((best.word, best.state.clone()));
            let state = best.state.clone();
            self.balancer.retain_resources(|name| state.config.resources.contains_key(name));
        }
    }

    /// The best that an agent's tunnels offer.
    pub(crate) fn offers(&self, agent: usize, now: Ms) -> Tunnels {
        let own = self.tunnels.iter().filter(|(id, _)| id.agent == agent);
        let each = own.map(|(_, tunnel)| match now.saturating_sub(tunnel.heard) {
            DEAD.. => Tunnels::None,
            _ if tunnel.drains => Tunnels::Draining,
            SUSPECT.. => Tunnels::Suspect,
            _ => Tunnels::Serving,
        });
        each.fold(Tunnels::None, |sum, one| match (sum, one) {
            (Tunnels::Draining, _) | (_, Tunnels::Draining) => Tunnels::Draining,
            (Tunnels::Serving, _) | (_, Tunnels::Serving) => Tunnels::Serving,
            (Tunnels::Suspect, _) | (_, Tunnels::Suspect) => Tunnels::Suspect,
            (Tunnels::None, Tunnels::None) => Tunnels::None,
        })
    }

    /// The tunnel that a session on the agent would take.
    pub(crate) fn best_tunnel(&self, agent: usize, now: Ms) -> Option<TunnelId> {
        let open = self.tunnels.iter().filter(|(id, tunnel)| {
            id.agent == agent && !tunnel.drains && now.saturating_sub(tunnel.heard) < DEAD
        });
        open.min_by_key(|(id, tunnel)| (now.saturating_sub(tunnel.heard) >= SUSPECT, **id)).map(|(id, _)| *id)
    }

    /// Whom to try; `None` while the group has told nothing, or knows no such resource.
    pub(crate) fn plan(
        &mut self,
        ask: &Ask<'_>,
        ids: &[AgentId],
        random: u64,
        clock: (Ms, Instant),
    ) -> Option<Plan> {
        let (now, at) = clock;
        let (_, state) = self.view.clone()?;
        let resource = state.config.resources.get(ask.resource)?;
        let candidates: Vec<_> = ids
            .iter()
            .enumerate()
            .filter(|(_, id)| self.members.contains_key(id))
            .map(|(number, id)| self.candidate(&state, ask.resource, number, *id, now))
            .collect();
        let wanted = Wanted {
            resource: ask.resource,
            policy: resource.policy,
            revision: state.resource_revisions.get(ask.resource).copied().unwrap_or_default(),
            tried: ask.tried,
            caller: ask.caller,
        };
        Some(self.balancer.order(wanted, &candidates, random, at))
    }

    pub(crate) fn candidate(
        &self,
        state: &GroupState,
        resource: &Name,
        number: usize,
        id: AgentId,
        now: Ms,
    ) -> Candidate {
        let known = state.members.get(&id);
        let said = self.members.get(&id).and_then(|member| member.said.as_ref());
        Candidate {
            agent: id,
            tunnels: self.offers(number, now),
            intent: known.map_or(Intent::Enabled, |known| known.intent),
            revision: said.map_or(0, |said| said.state.revision),
            verdict: state.resource_verdict(id, resource),
            weight: known.map_or(WEIGHT_DEFAULT, |known| known.weight),
            tier: known.map_or(0, |known| known.tier),
            exhausted: said.is_some_and(|said| said.vitals.is_exhausted()),
            in_flight: self.members.get(&id).map_or(0, |member| member.in_flight),
            member: known.is_some(),
        }
    }
}

/// What a session asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) resource: &'a Name,
    pub(crate) tried: &'a [AgentId],
    pub(crate) caller: u64,
}
