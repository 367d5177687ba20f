//! What can be asked of a group, and what it answers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::{Intent, Level, Member, Revision, Verdict};
use crate::{
    config::{GroupConfig, Resource},
    id::{AgentId, Name},
};

/// Chosen by whoever asks, 128 random bits: a request that is sent again is applied once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u128);

/// One entry of the group's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    pub request: RequestId,
    /// Who asks, for history and audit: a user's name, or `agent agt-…`.
    pub author: String,
    /// Stamped by the leader, milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub command: Command,
}

/// What is added here or in a [`Change`] needs a [`Level`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Changes the config, and so the revision. Refused as stale when `expected` is given and is not the current one.
    Config { expected: Option<Revision>, change: Change },
    /// What people want of a member. Taking the last enabled, judged-Up member out needs `force`.
    Intent { member: AgentId, intent: Intent, force: bool },
    /// Share of new sessions.
    Weight { member: AgentId, weight: u16 },
    /// Which members come before which.
    Tier { member: AgentId, tier: u8 },
    /// A member came, or came back with another name, address or version; its intent, weight and tier are kept.
    Join { member: AgentId, name: String, peer_address: String, version: String },
    /// An agent is out for good, whether it has been a member or not: its id is never let in again. Asking twice changes
    /// nothing.
    Leave { member: AgentId },
    /// Changes of verdict, gathered over a short time.
    Verdicts { changes: Vec<VerdictChange> },
    /// All members know this much by now.
    Level { level: Level },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Fails when the name is taken.
    CreateResource {
        name: Name,
        resource: Resource,
    },
    /// Creates or replaces.
    PutResource {
        name: Name,
        resource: Resource,
    },
    DeleteResource {
        name: Name,
    },
    Replace {
        config: GroupConfig,
    },
    /// Makes the config of an earlier revision the newest.
    Rollback {
        to: Revision,
    },
}

/// A verdict about a member (`resource` absent) or about a resource as that member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictChange {
    pub member: AgentId,
    pub resource: Option<Name>,
    pub verdict: Verdict,
    pub detail: String,
}

/// What a proposal came to.
pub type Answer = Result<Accepted, Refusal>;

/// A proposal that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The config's revision after it.
    pub revision: Revision,
}

/// Why the group would not do what it was asked; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("revision is {actual}, not {expected} as expected: read the config again")]
    Stale { expected: Revision, actual: Revision },
    #[error("resource `{0}` exists already")]
    ResourceExists(Name),
    #[error("there is no resource `{0}`")]
    UnknownResource(Name),
    #[error("there is no member {0}")]
    UnknownMember(AgentId),
    #[error("{0} left the group for good: empty its data directory and enrol it again, it gets a new id")]
    Departed(AgentId),
    #[error("revision {0} is not in the history")]
    UnknownRevision(Revision),
    #[error(
        "{0} is the last healthy member: new sessions would have nowhere to go (force it if that is meant)"
    )]
    LastHealthyMember(AgentId),
    #[error(
        "{member} is the last member that reaches resource `{resource}`: its sessions would have nowhere to go (force it if that is meant)"
    )]
    LastToReach { member: AgentId, resource: Name },
    #[error("weight {0} is out of bounds, expected 1 to 1000")]
    Weight(u16),
    #[error("tier {0} is out of bounds, expected 0 to 9")]
    Tier(u8),
    #[error("a group holds at most {0} resources")]
    TooManyResources(usize),
    /// Never enters the log.
    #[error(
        "this needs feature level {needs}, and the group works at {level}: upgrade all of its agents, and revoke those that \
         are gone"
    )]
    Level { needs: Level, level: Level },
    /// Never enters the log.
    #[error("the group works at feature level {level}, and this agent's program knows {known}: upgrade it")]
    Outdated { known: Level, level: Level },
}

impl Refusal {
    /// Stable word for programs and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::ResourceExists(_) => "resource_exists",
            Self::UnknownResource(_) => "unknown_resource",
            Self::UnknownMember(_) => "unknown_member",
            Self::Departed(_) => "departed",
            Self::UnknownRevision(_) => "unknown_revision",
            Self::LastHealthyMember(_) => "last_healthy_member",
            Self::LastToReach { .. } => "last_to_reach",
            Self::Weight(_) => "weight",
            Self::Tier(_) => "tier",
            Self::TooManyResources(_) => "too_many_resources",
            Self::Level { .. } => "level",
            Self::Outdated { .. } => "outdated",
        }
    }
}

impl Command {
    /// Makes the record of a member that has just come.
    pub(super) fn fresh_member(name: &str, peer_address: &str, version: &str, at_ms: u64) -> Member {
        Member {
            name: name.to_owned(),
            peer_address: peer_address.to_owned(),
            intent: Intent::Enabled,
            weight: super::WEIGHT_DEFAULT,
            tier: 0,
            verdict: super::Judged { verdict: Verdict::Up, since_ms: at_ms, detail: String::new() },
            version: version.to_owned(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a request id, expected 32 hexadecimal digits")]
pub struct RequestIdError(String);

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let refused = || RequestIdError(text.to_owned());
        if text.len() != 32 {
            return Err(refused());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| refused())
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
