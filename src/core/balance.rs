//! Which member takes the next session.
//!
//! [`Balancer::order`] sorts the candidates of one open: those that may take it, best first, so that failover is the
//! next of the list. Afterwards [`Balancer::observe`] is told how each open went. There is one balancer per group; it
//! remembers of every member how long opens take (a moving average that jumps up at once and decays), how many failed
//! in a row, and since when it has been here.
//!
//! ```text
//!            5 failures in a row, unless half of the group is out
//!   serving ───────────────────────────────────────────────▶ ejected (10 s × n, at most 300 s)
//!      ▲                                                        │
//!      └── 30 s ── slow start: a tenth of the weight, growing ◀─┘◀── comes new to a group that is warm
//! ```
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
    state::{Intent, Revision, Verdict},
};

mod budget;
mod order;
#[cfg(test)]
mod tests;
mod track;

pub use budget::RetryBudget;
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

/// What is known of one member when a session is to be opened.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub agent: AgentId,
    pub tunnels: Tunnels,
    pub intent: Intent,
    /// Last config revision that it has applied.
    pub revision: Revision,
    /// What it says of the resource.
    pub verdict: Verdict,
    pub weight: u16,
    /// Sessions of this gateway on it, those being opened included.
    pub in_flight: u32,
    /// Whether its group counts it as a member.
    pub member: bool,
}

/// The best that a member's tunnels offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnels {
    /// At least one is verified, alive and takes sessions.
    Serving,
    /// Only such as have been silent for a while.
    Suspect,
    /// The agent said on every one that it wants no new sessions.
    Draining,
    None,
}

/// Why a member was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    NoTunnel,
    /// People or the agent itself took it out.
    Draining,
    Disabled,
    NotMember,
    /// Its tunnels are silent.
    Suspect,
    /// It has not applied the revision that the resource needs.
    Behind,
    /// It says that it cannot reach the resource.
    Down,
    /// Opens on it failed again and again.
    Ejected,
    /// It was tried for this session already.
    Tried,
}

impl Exclusion {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTunnel => "no_tunnel",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::NotMember => "not_member",
            Self::Suspect => "suspect",
            Self::Behind => "behind",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Tried => "tried",
        }
    }

    /// Whether panic mode passes over it: what was judged may be wrong, what people want and what is not there is not.
    const fn yields(self) -> bool {
        matches!(self, Self::Suspect | Self::Behind | Self::Down | Self::Ejected)
    }
}

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
}

/// How an open went, as far as the member is concerned. When a target refuses through every member, nobody is told
/// [`Failed`](Self::Failed): that is the target's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// After this long.
    Ok(Duration),
    /// And another member could, or the member itself was the cause.
    Failed,
}

/// The balancer of one group.
#[derive(Debug, Default)]
pub struct Balancer {
    tracks: BTreeMap<AgentId, Track>,
    turns: BTreeMap<Name, Turns>,
}

/// Round robin of one resource: how far each member has come; the one that is furthest back is next.
#[derive(Debug, Default)]
struct Turns {
    passes: BTreeMap<AgentId, f64>,
    /// Where the last one to be chosen stood.
    reached: f64,
}

impl Balancer {
    /// A member has its first tunnel, or its first after a restart: what was known of it no longer counts. Slow start
    /// protects it only if others have been here for a while; a group that comes together starts together.
    pub fn arrived(&mut self, agent: AgentId, now: Instant) {
        let others_warm = self.tracks.iter().any(|(other, track)| *other != agent && track.is_warm(now));
        self.tracks.insert(agent, Track::new(now, !others_warm));
        self.forget_turns(agent);
    }

    /// A member has lost its last tunnel.
    pub fn left(&mut self, agent: AgentId) {
        self.tracks.remove(&agent);
        self.forget_turns(agent);
    }

    /// Forgets resources that are no more.
    pub fn retain_resources(&mut self, exists: impl Fn(&Name) -> bool) {
        self.turns.retain(|resource, _| exists(resource));
    }

    /// Sorts the candidates of one open. `random` must be drawn anew for each call.
    pub fn order(&mut self, wanted: Wanted<'_>, candidates: &[Candidate], random: u64, now: Instant) -> Plan {
        order::order(self, wanted, candidates, random, now)
    }

    /// Tells how an open on `agent` went.
    pub fn observe(&mut self, agent: AgentId, opened: Opened, now: Instant) {
        let ejected = self.tracks.values().filter(|track| track.is_ejected(now)).count();
        let may_eject = (ejected + 1) * 2 <= self.tracks.len();
        let Some(track) = self.tracks.get_mut(&agent) else { return };
        match opened {
            Opened::Ok(took) => track.succeeded(took, now),
            Opened::Failed => track.failed(may_eject, now),
        }
    }

    /// Until when `agent` gets nothing, if it is ejected.
    pub fn ejected_until(&self, agent: AgentId, now: Instant) -> Option<Instant> {
        self.tracks.get(&agent).and_then(|track| track.ejected_until(now))
    }

    fn forget_turns(&mut self, agent: AgentId) {
        for turns in self.turns.values_mut() {
            turns.passes.remove(&agent);
        }
    }
}
