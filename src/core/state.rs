//! The state that a group replicates, and how one committed proposal changes it.
//!
//! [`GroupState::apply`] is a pure function of the state and the proposal: every member that applies the same log has
//! the same state, to the byte. Nothing here reads a clock; the proposal carries the leader's time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::GroupConfig,
    id::{AgentId, Name},
};

mod apply;
mod level;
mod proposal;

pub use level::{Level, LevelError};
pub use proposal::{
    Accepted, Answer, Change, Command, Proposal, Refusal, RequestId, RequestIdError, VerdictChange,
};

/// Number of the last committed config change; 0 before the first.
pub type Revision = u64;

/// How many config revisions are kept for history and rollback.
pub const HISTORY_MAX: usize = 100;
/// How many answers are kept so that a repeated request is applied once.
pub const REQUESTS_MAX: usize = 1_024;
/// How many members that left are remembered. Those forgotten by then have had no valid certificate for long.
pub const DEPARTED_MAX: usize = 4_096;
/// Weight of a member that nobody has given another.
pub const WEIGHT_DEFAULT: u16 = 100;
/// The heaviest weight.
pub const WEIGHT_MAX: u16 = 1_000;
/// The last tier.
pub const TIER_MAX: u8 = 9;

/// Everything the members of a group share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupState {
    /// What all members know.
    #[serde(default, skip_serializing_if = "Level::is_oldest")]
    pub level: Level,
    pub revision: Revision,
    pub config: GroupConfig,
    /// The revision at which each resource last changed; a member serves a resource once it has applied that.
    pub resource_revisions: BTreeMap<Name, Revision>,
    pub members: BTreeMap<AgentId, Member>,
    /// Agents that people took out for good, members or not, oldest first, at most [`DEPARTED_MAX`]. Their ids are never
    /// taken again, so a revoked agent cannot come (back) through a member that has not heard of the revocation.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub departed: VecDeque<AgentId>,
    /// What each member says of each resource; absent means Up so far.
    pub resource_verdicts: BTreeMap<AgentId, BTreeMap<Name, Judged>>,
    /// Oldest first, the current revision last, at most [`HISTORY_MAX`]. Shared, because readers hold on to a state while
    /// its successor is made, and this is most of it.
    pub history: VecDeque<Arc<HistoryEntry>>,
    /// Answers to the latest requests, oldest first, at most [`REQUESTS_MAX`].
    requests: VecDeque<(RequestId, Answer)>,
}

/// An agent as its group sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub name: String,
    /// Where the other members reach it, `host:port`.
    pub peer_address: String,
    #[serde(default)]
    pub intent: Intent,
    /// Share of new sessions, 1 ..= [`WEIGHT_MAX`].
    pub weight: u16,
    /// Sessions go to the first tier that has a member for them; 0 is the first, [`TIER_MAX`] the last.
    #[serde(default, skip_serializing_if = "is_first")]
    pub tier: u8,
    /// How its peers judge it.
    pub verdict: Judged,
    /// Version of the agent's program.
    #[serde(default)]
    pub version: String,
}

/// What people want of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    #[default]
    Enabled,
    /// Finishes what it has, gets nothing new.
    Draining,
    /// Gets nothing new until it is enabled again.
    Disabled,
}

impl Intent {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// Judged state of a member or of a (member, resource).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    #[default]
    Up,
    Suspect,
    Down,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// A verdict with its time and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    pub verdict: Verdict,
    /// Milliseconds since the Unix epoch, by the leader's clock.
    pub since_ms: u64,
    /// Why, in a few words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One committed config change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    pub revision: Revision,
    pub author: String,
    /// Milliseconds since the Unix epoch, by the leader's clock.
    pub at_ms: u64,
    /// What differs from the revision before, one line each.
    pub diff: Vec<String>,
    /// The whole config as of this revision.
    pub config: GroupConfig,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_first(tier: &u8) -> bool {
    *tier == 0
}

impl GroupState {
    /// The config as of an earlier revision, if history still has it.
    pub fn config_at(&self, revision: Revision) -> Option<&GroupConfig> {
        self.history.iter().find(|entry| entry.revision == revision).map(|entry| &entry.config)
    }

    /// What `member` says of `resource`.
    pub fn resource_verdict(&self, member: AgentId, resource: &Name) -> Verdict {
        let judged = self.resource_verdicts.get(&member).and_then(|resources| resources.get(resource));
        judged.map_or(Verdict::Up, |judged| judged.verdict)
    }
}
