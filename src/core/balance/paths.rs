//! Members' ways to targets, as this gateway has seen them.
//!
//! A target that refuses through one member and answers through another is not the target's fault, and not a reason to
//! take the member out for other resources: the way from there to there is closed for a while. What this gateway saw wins
//! over what the member's probes say.

use std::{collections::BTreeMap, time::Instant};

use super::breaker::Breaker;
use crate::{
    id::{AgentId, Name},
    state::Revision,
};

/// So many sessions in a row that reached the target through another member only, and the way is closed.
pub const MISSES_MAX: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Paths(BTreeMap<Name, Ways>);

#[derive(Debug, Default)]
struct Ways {
    /// What was seen of an earlier target says nothing.
    revision: Revision,
    members: BTreeMap<AgentId, Breaker>,
}

impl Paths {
    pub(super) fn holds(&self, resource: &Name, revision: Revision, agent: AgentId, now: Instant) -> bool {
        let ways = self.0.get(resource).filter(|ways| ways.revision == revision);
        ways.and_then(|ways| ways.members.get(&agent)).is_some_and(|way| way.holds(now))
    }

    pub(super) fn chosen(&mut self, resource: &Name, agent: AgentId, now: Instant) {
        let way = self.0.get_mut(resource).and_then(|ways| ways.members.get_mut(&agent));
        if let Some(way) = way {
            way.chosen(now);
        }
    }

    pub(super) fn reached(&mut self, resource: &Name, agent: AgentId, now: Instant) {
        // Most ways never fail, and are not remembered.
        let Some(ways) = self.0.get_mut(resource) else { return };
        if let Some(way) = ways.members.get_mut(&agent) {
            way.succeeded(now);
        }
    }

    pub(super) fn missed(&mut self, resource: &Name, revision: Revision, agent: AgentId, now: Instant) {
        let ways = self.0.entry(resource.clone()).or_default();
        if ways.revision != revision {
            *ways = Ways { revision, members: BTreeMap::new() };
        }
        ways.members.entry(agent).or_default().failed(MISSES_MAX, true, now);
    }

    pub(super) fn forget(&mut self, agent: AgentId) {
        self.0.values_mut().for_each(|ways| _ = ways.members.remove(&agent));
    }

    pub(super) fn retain(&mut self, exists: impl Fn(&Name) -> bool) {
        self.0.retain(|resource, ways| exists(resource) && !ways.members.is_empty());
    }
}
