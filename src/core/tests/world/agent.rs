//! One agent's process: its uplink, its probes, its part in the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use warren_core::{
    backoff::Backoff,
    id::{AgentId, Name},
    judge::{Evidence, Judge},
    state::{GroupState, Revision, Verdict, VerdictChange},
    uplink::Uplink,
    vitals::Vitals,
};

use super::{net::Node, queue::Ms, tunnel::TunnelId};

/// Time between two looks at a resource; a fifth of it while the judge is undecided.
const PROBE_EVERY: Ms = 10_000;
pub(crate) const SLOTS: usize = 2;

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) number: usize,
    pub(crate) is_alive: bool,
    pub(crate) frozen_until: Ms,
    /// Counts the processes; what was planned for an earlier one is void.
    pub(crate) boot: u32,
    pub(crate) uplink: Uplink,
    /// When its next step is planned, so that it is planned once.
    pub(crate) uplink_due: Option<Ms>,
    /// Connections that are being made, by epoch.
    pub(crate) dialling: BTreeSet<u64>,
    /// Connections, by epoch, with when each was last heard.
    pub(crate) tunnels: BTreeMap<u64, (TunnelId, Ms)>,
    /// Entries of the log that it has applied.
    pub(crate) applied: usize,
    pub(crate) state: Arc<GroupState>,
    pub(crate) board: BTreeMap<Name, Watched>,
    pub(crate) telling: Backoff,
    pub(crate) is_telling: bool,
    pub(crate) vitals: Vitals,
    /// Faults that are on, counted because they overlap.
    pub(crate) drains: u32,
    pub(crate) fails: u32,
    pub(crate) slow: u32,
    pub(crate) exhausted: u32,
    pub(crate) clock_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Watched {
    revision: Revision,
    pub(crate) judge: Judge,
    pub(crate) seen: bool,
}

impl Agent {
    pub(crate) fn new(number: usize, uplink: Uplink) -> Self {
        Self {
            id: AgentId::from_random(number as u64 + 1),
            number,
            is_alive: true,
            frozen_until: 0,
            boot: 1,
            uplink,
            uplink_due: None,
            dialling: BTreeSet::new(),
            tunnels: BTreeMap::new(),
            applied: 0,
            state: Arc::default(),
            board: BTreeMap::new(),
            telling: Backoff::new(Duration::from_secs(1), Duration::from_secs(10), Duration::ZERO),
            is_telling: false,
            vitals: Vitals::default(),
            drains: 0,
            fails: 0,
            slow: 0,
            exhausted: 0,
            clock_ms: 0,
        }
    }

    pub(crate) fn node(&self) -> Node {
        Node::Agent(self.number)
    }

    /// It runs: whoever calls it is answered.
    pub(crate) fn is_up(&self, now: Ms) -> bool {
        self.is_alive && self.frozen_until <= now
    }

    /// Takes the group's state in; gives the resources that are to be looked at from now on.
    pub(crate) fn adopt(&mut self, applied: usize, state: Arc<GroupState>) -> Vec<Name> {
        (self.applied, self.state) = (applied, state);
        let revisions = &self.state.resource_revisions;
        self.board.retain(|name, watched| revisions.get(name) == Some(&watched.revision));
        let mut fresh = Vec::new();
        for (name, revision) in revisions {
            if self.board.contains_key(name) {
                continue;
            }
            let judge = Judge::resume(self.state.resource_verdict(self.id, name));
            self.board.insert(name.clone(), Watched { revision: *revision, judge, seen: false });
            fresh.push(name.clone());
        }
        fresh
    }

    /// Takes a look into account; gives the time until the next, by `random`.
    pub(crate) fn look(&mut self, name: &Name, evidence: Evidence, random: u64) -> Option<Ms> {
        let watched = self.board.get_mut(name)?;
        watched.judge.observe(evidence);
        watched.seen = true;
        let every = if watched.judge.is_undecided() { PROBE_EVERY / 5 } else { PROBE_EVERY };
        Some(every * (80 + random % 41) / 100)
    }

    /// What the group should know and does not, as far as this agent can tell.
    pub(crate) fn untold(&self) -> Vec<VerdictChange> {
        if !self.state.members.contains_key(&self.id) {
            return Vec::new();
        }
        let differs = |(name, watched): &(&Name, &Watched)| {
            watched.seen && self.state.resource_verdict(self.id, name) != watched.judge.verdict()
        };
        let change = |(name, watched): (&Name, &Watched)| VerdictChange {
            member: self.id,
            resource: Some(name.clone()),
            verdict: watched.judge.verdict(),
            detail: "refused".to_owned(),
        };
        self.board.iter().filter(differs).map(change).collect()
    }

    pub(crate) fn verdict(&self, name: &Name) -> Verdict {
        self.board.get(name).map_or(Verdict::Up, |watched| watched.judge.verdict())
    }
}
