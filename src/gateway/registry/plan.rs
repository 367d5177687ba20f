//! Whom a session is tried on: what the registry knows, handed to the balancer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use warren_core::{
    balance::{Candidate, Plan, Tunnels, Wanted},
    id::{AgentId, Name},
    state::{Intent, Revision, WEIGHT_DEFAULT},
};
use warren_tunnel::Liveness;
use warren_wire::convert::Snapshot;

use super::{
    Group, Tunnel,
    group::{Member, State},
};

/// What a session asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) resource: &'a Name,
    /// Members that it has been tried on.
    pub(crate) tried: &'a [AgentId],
    /// Who asks, see `warren_core::balance::caller_key`.
    pub(crate) caller: u64,
}

/// What came of planning.
#[derive(Debug)]
pub(crate) enum Planned {
    /// The group has not said anything yet.
    UnknownGroup,
    UnknownResource,
    /// Nobody may take it.
    Nobody(Plan),
    Chosen(Chosen),
}

/// The member to try.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) plan: Plan,
    pub(crate) lease: Lease,
    /// Its name in the group.
    pub(crate) name: String,
    /// The agent must have applied it.
    pub(crate) revision: Revision,
}

/// A session's hold on a tunnel: counted from the choice on, so that callers that come at the same time spread.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) tunnel: Arc<Tunnel>,
    member: Arc<AtomicU32>,
}

impl Lease {
    fn new(tunnel: Arc<Tunnel>, member: Arc<AtomicU32>) -> Self {
        tunnel.sessions.fetch_add(1, Relaxed);
        member.fetch_add(1, Relaxed);
        Self { tunnel, member }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tunnel.sessions.fetch_sub(1, Relaxed);
        self.member.fetch_sub(1, Relaxed);
    }
}

impl Group {
    /// Whom to try for a session, and a hold on the first choice. `random` must be drawn anew for each call.
    pub(crate) fn plan(&self, asked: Asked<'_>, random: u64, now: Instant) -> Planned {
        self.lock().plan(asked, random, now)
    }
}

impl State {
    fn plan(&mut self, asked: Asked<'_>, random: u64, now: Instant) -> Planned {
        let Asked { resource, tried, caller } = asked;
        let Some(view) = self.view.clone() else { return Planned::UnknownGroup };
        let Some(known) = view.resources.get(resource) else { return Planned::UnknownResource };
        let candidates: Vec<_> =
            self.members.iter().map(|(id, member)| candidate(&view, resource, *id, member)).collect();
        let policy = known.resource.policy;
        let wanted = Wanted { resource, policy, revision: known.revision, tried, caller };
        let plan = self.balancer.order(wanted, &candidates, random, now);
        let first = plan.choices.first().and_then(|id| Some((*id, self.members.get(id)?)));
        let Some((id, tunnel, sessions)) =
            first.and_then(|(id, member)| Some((id, member.best_tunnel()?, member.sessions.clone())))
        else {
            return Planned::Nobody(plan);
        };
        let name = view.members.get(&id).map(|member| member.name.clone()).unwrap_or_default();
        Planned::Chosen(Chosen { plan, lease: Lease::new(tunnel, sessions), name, revision: known.revision })
    }
}

impl Member {
    fn best_tunnel(&self) -> Option<Arc<Tunnel>> {
        let open = self.tunnels.iter().filter_map(|tunnel| match tunnel.state() {
            (Liveness::Dead, _) | (_, true) => None,
            (liveness, false) => Some((liveness, tunnel.sessions(), tunnel)),
        });
        open.min_by_key(|(liveness, sessions, _)| (*liveness, *sessions)).map(|(_, _, tunnel)| tunnel.clone())
    }

    fn tunnels_state(&self) -> Tunnels {
        let each = self.tunnels.iter().map(|tunnel| match tunnel.state() {
            (Liveness::Dead, _) => Tunnels::None,
            (_, true) => Tunnels::Draining,
            (Liveness::Suspect, false) => Tunnels::Suspect,
            (Liveness::Alive, false) => Tunnels::Serving,
        });
        // An agent that drains drains as a whole, but says so tunnel by tunnel.
        each.fold(Tunnels::None, |sum, one| match (sum, one) {
            (Tunnels::Draining, _) | (_, Tunnels::Draining) => Tunnels::Draining,
            (Tunnels::Serving, _) | (_, Tunnels::Serving) => Tunnels::Serving,
            (Tunnels::Suspect, _) | (_, Tunnels::Suspect) => Tunnels::Suspect,
            (Tunnels::None, Tunnels::None) => Tunnels::None,
        })
    }
}

fn candidate(view: &Snapshot, resource: &Name, agent: AgentId, member: &Member) -> Candidate {
    let known = view.members.get(&agent);
    let own = member.snapshot.as_deref();
    Candidate {
        agent,
        tunnels: member.tunnels_state(),
        intent: known.map_or(Intent::Enabled, |known| known.intent),
        revision: own.map_or(0, |own| own.revision),
        verdict: view.resource_verdict(agent, resource),
        weight: known.map_or(WEIGHT_DEFAULT, |known| known.weight),
        tier: known.map_or(0, |known| known.tier),
        exhausted: own.is_some_and(|own| own.vitals.is_exhausted()),
        in_flight: member.sessions.load(Relaxed),
        member: known.is_some(),
    }
}
