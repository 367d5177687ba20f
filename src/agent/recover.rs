//! What is left of a group in the data folder of an agent that is stopped: `warren recover`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use warren_core::id::AgentId;
use warren_group::{OpenError, Recovery, Survivor};
use warren_identity::TlsError;

use crate::{
    identity::{Folder, Identity, StoredIdentityError},
    peers::Dialer,
};

/// How long the other members get to say that they live.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Why there is nothing to recover from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    #[error("no agent has ever enrolled with the data folder {}", path.display())]
    NotEnrolled { path: PathBuf },
    #[error("cannot tell whose data folder this is")]
    Identity(#[from] StoredIdentityError),
    #[error("cannot use the group's log")]
    Log(#[from] OpenError),
    #[error("cannot call the other members")]
    Tls(#[from] TlsError),
}

impl RecoverError {
    /// Whether it is for the admin to do something else first, rather than a failure.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Log(OpenError::InUse { .. } | OpenError::NoLog { .. }))
    }
}

/// An agent's data folder, held so that no agent starts on it.
#[derive(Debug)]
pub struct Remains {
    identity: Identity,
    survivor: Survivor,
}

impl Remains {
    /// Opens the folder of an agent that is stopped.
    pub fn open(data_dir: &Path) -> Result<Self, RecoverError> {
        let not_enrolled = || RecoverError::NotEnrolled { path: data_dir.to_owned() };
        if !data_dir.is_dir() {
            return Err(not_enrolled());
        }
        let identity = Folder::open(data_dir)?.identity(None)?.ok_or_else(not_enrolled)?;
        let survivor = Survivor::open(data_dir, identity.facts.group, identity.facts.agent)?;
        Ok(Self { identity, survivor })
    }

    /// What the group is called, as far as this agent knows.
    pub fn group_name(&self) -> &str {
        &self.identity.facts.group_name
    }

    pub fn recovery(&self) -> &Recovery {
        self.survivor.recovery()
    }

    /// Which other voters live, by calling them.
    pub async fn answering(&self) -> Result<Vec<AgentId>, RecoverError> {
        let dialer = Dialer::new(&self.identity)?;
        Ok(self.survivor.answering(&dialer, ANSWER_WITHIN).await)
    }

    /// Makes this member the whole group, by one transaction on its disk.
    pub fn recover(self) -> Result<Recovery, RecoverError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Ok(self.survivor.recover(at_ms, rand::random)?)
    }
}
