//! Between what travels and what core thinks in. Reading is strict: what a peer got wrong has a name.

use std::sync::Arc;

use thiserror::Error;
use warren_core::{
    config::{GroupConfig, PolicyError, Resource},
    destination::DestinationError,
    fields::ConfigError,
    id::{AgentId, IdError, NameError},
    state::{HistoryEntry, Intent, Judged, RequestIdError, Verdict},
    view::Role,
};

use crate::v1;

mod command;
mod snapshot;
mod vitals;

pub use command::{Asked, Request, read_request};
pub use snapshot::{Snapshot, SnapshotMember, SnapshotResource, read_snapshot, snapshot};
pub use vitals::{read_vitals, reading, tell_vitals};

/// Why a message cannot be understood.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{field}` has the unknown value {value}")]
    Unknown { field: &'static str, value: i32 },
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    RequestId(#[from] RequestIdError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("weight {0} is out of bounds, expected 1 to 1000")]
    Weight(u32),
    #[error("tier {0} is out of bounds, expected 0 to 9")]
    Tier(u32),
}

/// An agent id, or `None` for the empty text.
pub fn read_agent(text: &str) -> Result<Option<AgentId>, ConvertError> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
}

/// A resource without its name; an empty policy is the default one.
pub fn read_resource(resource: &v1::Resource) -> Result<Resource, ConvertError> {
    let policy = if resource.policy.is_empty() { Default::default() } else { resource.policy.parse()? };
    Ok(Resource { target: resource.target.parse()?, policy, description: resource.description.clone() })
}

pub fn history_entry(entry: &Arc<HistoryEntry>) -> v1::HistoryEntry {
    v1::HistoryEntry {
        revision: entry.revision,
        author: entry.author.clone(),
        at_ms: entry.at_ms,
        diff: entry.diff.clone(),
        document: entry.config.to_yaml(),
    }
}

/// The config of a document that came over the wire.
pub fn read_document(text: &str) -> Result<GroupConfig, ConvertError> {
    Ok(GroupConfig::parse("config", text)?)
}

pub fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Up => v1::Verdict::Up,
        Verdict::Suspect => v1::Verdict::Suspect,
        Verdict::Down => v1::Verdict::Down,
    }
}

pub fn read_verdict(value: i32) -> Result<Verdict, ConvertError> {
    match v1::Verdict::try_from(value) {
        Ok(v1::Verdict::Up) => Ok(Verdict::Up),
        Ok(v1::Verdict::Suspect) => Ok(Verdict::Suspect),
        Ok(v1::Verdict::Down) => Ok(Verdict::Down),
        Ok(v1::Verdict::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "verdict", value }),
    }
}

pub fn intent(intent: Intent) -> v1::Intent {
    match intent {
        Intent::Enabled => v1::Intent::Enabled,
        Intent::Draining => v1::Intent::Draining,
        Intent::Disabled => v1::Intent::Disabled,
    }
}

pub fn read_intent(value: i32) -> Result<Intent, ConvertError> {
    match v1::Intent::try_from(value) {
        Ok(v1::Intent::Enabled) => Ok(Intent::Enabled),
        Ok(v1::Intent::Draining) => Ok(Intent::Draining),
        Ok(v1::Intent::Disabled) => Ok(Intent::Disabled),
        Ok(v1::Intent::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "intent", value }),
    }
}

pub fn role(role: Option<Role>) -> v1::Role {
    match role {
        None => v1::Role::Unspecified,
        Some(Role::Voter) => v1::Role::Voter,
        Some(Role::Learner) => v1::Role::Learner,
    }
}

/// Unspecified stands for a member that is not in the log's membership (yet).
pub fn read_role(value: i32) -> Result<Option<Role>, ConvertError> {
    match v1::Role::try_from(value) {
        Ok(v1::Role::Unspecified) => Ok(None),
        Ok(v1::Role::Voter) => Ok(Some(Role::Voter)),
        Ok(v1::Role::Learner) => Ok(Some(Role::Learner)),
        Err(_) => Err(ConvertError::Unknown { field: "role", value }),
    }
}

pub fn judged(judged: &Judged) -> v1::Judged {
    v1::Judged {
        verdict: verdict(judged.verdict).into(),
        since_ms: judged.since_ms,
        detail: judged.detail.clone(),
    }
}

pub fn read_judged(judged: Option<&v1::Judged>) -> Result<Judged, ConvertError> {
    let judged = judged.ok_or(ConvertError::Missing("judged"))?;
    Ok(Judged {
        verdict: read_verdict(judged.verdict)?,
        since_ms: judged.since_ms,
        detail: judged.detail.clone(),
    })
}
