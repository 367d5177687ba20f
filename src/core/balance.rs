//! Which member takes the next session.
//!
//! [`Balancer::order`] sorts the candidates of one open: those that may take it, best first, so that failover is the
//! next of the list; the first choice counts as taken. Afterwards [`Balancer::observe`] is told how each open went, and
//! [`Balancer::observe_path`] whether the target was reached. There is one balancer per group; it remembers of every member
//! how long opens take (a moving average that jumps up when two in a row are slow, and decays), how many failed in a row,
//! since when it has been here, and how often it went.
//!
//! ```text
//!            5 failures in a row, unless half of the group is out
//!   serving ───────────────────────────────────────────────▶ ejected (10 s × n, at most 300 s) ◀─ fails ─┐
//!      ▲                                                        │                                         │
//!      └── 30 s ── slow start: a tenth of the weight, ◀─ passes ┴──────── one session tries it out ───────┘
//!                  growing ◀── comes new to a group that is warm
//! ```
//!
//! Members stand in tiers: one of a later tier gets a session only when the rules leave nobody of those before it.
//!
//! Who leaves nobody is never obeyed: if the rules exclude everybody, all that have a tunnel are tried (panic mode),
//! except those that people took out. That is for people to decide.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    config::Policy,
    id::{AgentId, Name},
    state::Revision,
};

mod breaker;
mod budget;
mod candidate;
mod flaps;
mod order;
mod paths;
pub(crate) mod random;
mod sticky;
#[cfg(test)]
mod tests;
mod track;

use breaker::Breaker;
pub use budget::RetryBudget;
pub use candidate::{Candidate, Exclusion, Tunnels};
use flaps::Flaps;
pub use paths::MISSES_MAX;
use paths::Paths;
pub use sticky::{FREE_SESSIONS, OVERLOAD, caller_key};
use track::Track;

/// Time over which the average of open latencies forgets.
pub const DECAY: Duration = Duration::from_secs(10);
/// What an open is taken to need before any was seen.
pub const LATENCY_SEED: Duration = Duration::from_millis(30);
/// What a failed open counts as, so that failing fast attracts nothing.
pub const FAILURE_LATENCY: Duration = Duration::from_secs(5);
/// So many failures in a row eject a member.
pub const FAILURES_MAX: u32 = 5;
/// The first ejection lasts this long, the n-th n times as long.
pub const EJECTION: Duration = Duration::from_secs(10);
/// No ejection lasts longer.
pub const EJECTION_MAX: Duration = Duration::from_secs(300);
/// How long a member that is new to a warm group gets less than its share.
pub const SLOW_START: Duration = Duration::from_secs(30);
/// Part of its weight with which it starts.
pub const SLOW_START_SHARE: f64 = 0.1;

/// What made the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Policy(Policy),
    /// There was no other.
    Only,
    /// The rules left nobody; everybody with a tunnel was taken.
    Panic,
    /// Nobody has a tunnel, or people took out all that have one.
    Nobody,
}

impl Rule {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(policy) => policy.as_str(),
            Self::Only => "only",
            Self::Panic => "panic",
            Self::Nobody => "nobody",
        }
    }
}

/// One candidate in a decision record.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateRecord {
    pub member: AgentId,
    /// Lower is better.
    pub score: f64,
    pub sessions: u32,
    pub excluded: Option<Exclusion>,
}

/// Whom to try, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Best first.
    pub choices: Vec<AgentId>,
    pub rule: Rule,
    /// Every candidate, by id.
    pub records: Vec<CandidateRecord>,
}

/// What a session asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub resource: &'a Name,
    pub policy: Policy,
    /// The revision at which the resource last changed.
    pub revision: Revision,
    /// Members that this session has been tried on.
    pub tried: &'a [AgentId],
    /// Who asks, see [`caller_key`].
    pub caller: u64,
}

/// How an open went, as far as the member is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// After this long.
    Ok(Duration),
    /// By the member's own fault.
    Failed,
}

/// Whether a session reached its target through a member. When a target refuses through every member, nobody is told
/// [`Missed`](Self::Missed): that is the target's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Reached,
    /// It did not, and did through another member.
    Missed,
}

/// The balancer of one group.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Members with a tunnel.
    tracks: BTreeMap<AgentId, Track>,
    /// What is remembered of those that went lately.
    past: BTreeMap<AgentId, Past>,
    paths: Paths,
    turns: BTreeMap<Name, Turns>,
}

/// What outlives a member's tunnels.
#[derive(Debug)]
struct Past {
    flaps: Flaps,
    breaker: Breaker,
}

/// Round robin of one resource: who is furthest back is next.
#[derive(Debug, Default)]
struct Turns {
    passes: BTreeMap<AgentId, f64>,
    /// Where the last one to be chosen stood.
    reached: f64,
}

impl Balancer {
    /// A member has its first tunnel, or its first after a restart: how it did no longer counts, only how often it came
    /// and went. Slow start protects it only if others have been here for a while; a group that comes together starts
    /// together.
    pub fn arrived(&mut self, agent: AgentId, now: Instant) {
        // A restart that nobody saw the end of.
        self.left(agent, now);
        let others_warm = self.tracks.values().any(|track| track.is_warm(now));
        let may_hold = self.may_take_out(agent, 1, now);
        let past = self.past.get(&agent);
        let held_until = past.and_then(|past| past.flaps.hold(now)).filter(|_| may_hold);
        let breaker = past.map(|past| past.breaker.absolved()).unwrap_or_default();
        self.tracks.insert(agent, Track::new(now, !others_warm, breaker, held_until));
    }

    /// A member has lost its last tunnel.
    pub fn left(&mut self, agent: AgentId, now: Instant) {
        let Some(track) = self.tracks.remove(&agent) else { return };
        self.past.retain(|_, past| !(past.flaps.are_forgotten(now) && past.breaker.is_forgiven(now)));
        let fresh = || Past { flaps: Flaps::new(now), breaker: Breaker::default() };
        let past = self.past.entry(agent).or_insert_with(fresh);
        past.flaps.note(now);
        past.breaker = track.breaker().clone();
        self.paths.forget(agent);
        for turns in self.turns.values_mut() {
            turns.passes.remove(&agent);
        }
    }

    /// Forgets resources that are no more.
    pub fn retain_resources(&mut self, exists: impl Fn(&Name) -> bool) {
        self.turns.retain(|resource, _| exists(resource));
        self.paths.retain(exists);
    }

    /// Sorts the candidates of one open, and counts the first choice as taken. `random` must be drawn anew for each call.
    pub fn order(&mut self, wanted: Wanted<'_>, candidates: &[Candidate], random: u64, now: Instant) -> Plan {
        let plan = order::order(self, wanted, candidates, random, now);
        if let Some(first) = plan.choices.first() {
            if let Some(track) = self.tracks.get_mut(first) {
                track.chosen(now);
            }
            self.paths.chosen(wanted.resource, *first, now);
        }
        plan
    }

    /// Tells how an open on `agent` went.
    pub fn observe(&mut self, agent: AgentId, opened: Opened, now: Instant) {
        let may_eject = self.may_take_out(agent, 0, now);
        let Some(track) = self.tracks.get_mut(&agent) else { return };
        match opened {
            Opened::Ok(took) => track.succeeded(took, now),
            Opened::Failed => track.failed(may_eject, now),
        }
    }

    /// Tells whether `resource`, which last changed at `revision`, was reached through `agent`.
    pub fn observe_path(
        &mut self,
        agent: AgentId,
        resource: &Name,
        revision: Revision,
        reach: Reach,
        now: Instant,
    ) {
        match reach {
            Reach::Reached => self.paths.reached(resource, agent, now),
            Reach::Missed if self.tracks.contains_key(&agent) => {
                self.paths.missed(resource, revision, agent, now);
            }
            Reach::Missed => {}
        }
    }

    /// Until when `agent` gets nothing, if it is ejected.
    pub fn ejected_until(&self, agent: AgentId, now: Instant) -> Option<Instant> {
        self.tracks.get(&agent).and_then(|track| track.breaker().open_until(now))
    }

    /// Whether at most half of the group is out once `agent` is too, of which `coming` are not here yet.
    fn may_take_out(&self, agent: AgentId, coming: usize, now: Instant) -> bool {
        let others_out = self.tracks.iter().filter(|(id, track)| **id != agent && track.is_out(now)).count();
        (others_out + 1) * 2 <= self.tracks.len() + coming
    }
}
