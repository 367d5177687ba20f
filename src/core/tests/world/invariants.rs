//! One file for each thing that must always hold: the check that every life asks, and lives made up for it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use warren_core::{id::AgentId, state::Intent};

use super::tunnel::Said;

pub(crate) mod bounds;
pub(crate) mod ejection;
pub(crate) mod heal_and_serve;
pub(crate) mod outcomes;
pub(crate) mod pick;
pub(crate) mod quorum_is_for_edits;
pub(crate) mod replicas_agree;
pub(crate) mod shares;
pub(crate) mod taken_out_stays_out;
pub(crate) mod verdicts_settle;

/// What is written down about a life beside what its parts know.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// What each gateway has seen of each member's intent, and as of which entry of the log.
    pub(crate) seen: BTreeMap<(usize, AgentId), (u64, Intent)>,
    pub(crate) edits_refused: u32,
    /// When a resource was last changed.
    pub(crate) config_changed: u64,
    /// Changes of verdict by agent and resource.
    pub(crate) verdicts: BTreeMap<(usize, usize), u32>,
    /// Opens tried, and sessions carried, by agent.
    pub(crate) tries: BTreeMap<usize, u32>,
    pub(crate) carried: BTreeMap<usize, u32>,
    /// First tries and retries of each gateway, by time.
    pub(crate) first: BTreeMap<usize, VecDeque<Instant>>,
    pub(crate) again: BTreeMap<usize, VecDeque<Instant>>,
}

impl Books {
    /// A gateway hears what a member says of its group.
    pub(crate) fn hears(&mut self, gateway: usize, said: &Said) {
        for (id, member) in &said.state.members {
            let seen = self.seen.entry((gateway, *id)).or_insert((said.word.applied, member.intent));
            if said.word.applied >= seen.0 {
                *seen = (said.word.applied, member.intent);
            }
        }
    }

    /// A gateway's process knows nothing of what the one before it knew.
    pub(crate) fn restarted(&mut self, gateway: usize) {
        self.seen.retain(|(of, _), _| *of != gateway);
        self.first.remove(&gateway);
        self.again.remove(&gateway);
    }

    pub(crate) fn first_try(&mut self, gateway: usize, at: Instant) {
        self.first.entry(gateway).or_default().push_back(at);
    }

    pub(crate) fn retry(&mut self, gateway: usize, at: Instant) {
        self.again.entry(gateway).or_default().push_back(at);
    }

    /// How many of them lie in this time before `at`.
    fn lately(book: &BTreeMap<usize, VecDeque<Instant>>, of: usize, at: Instant, within: Duration) -> usize {
        let times = book.get(&of).into_iter().flatten();
        times.filter(|time| at.saturating_duration_since(**time) <= within).count()
    }

    /// The members whose share of all tries is told.
    pub(crate) fn share(&self, agent: usize) -> f64 {
        let all: u32 = self.tries.values().sum();
        f64::from(self.tries.get(&agent).copied().unwrap_or_default()) / f64::from(all.max(1))
    }
}

/// For messages.
fn told<T: std::fmt::Debug + Ord>(things: impl IntoIterator<Item = T>) -> String {
    format!("{:?}", things.into_iter().collect::<BTreeSet<_>>())
}
