//! Asking a group for a change on a user's behalf, and waiting until this gateway has seen it.

use std::time::Duration;

use rand::Rng;
use tokio::time::timeout;
use tonic::Code;
use warren_core::{id::GroupId, state::RequestId};
use warren_wire::{
    convert::Snapshot,
    v1::{
        ConfigChange, ProposeRequest, config_change::Change, propose_request::Command,
        propose_response::Outcome,
    },
};

use super::{Api, auth::Actor, error::Problem};
use crate::{
    registry::{ProposeError, Registry},
    store::GroupRecord,
};

/// A group elects a new leader well within this time.
const PROPOSE_MAX: Duration = Duration::from_secs(8);
/// Members tell of a change within a fraction of this.
const SEEN_MAX: Duration = Duration::from_secs(1);

/// Asks a group for a change in the name of `author`; returns the config's revision after it.
pub(crate) async fn propose(
    registry: &Registry,
    group: GroupId,
    author: &str,
    command: Command,
) -> Result<u64, Problem> {
    let request = ProposeRequest {
        request_id: RequestId(rand::rng().random()).to_string(),
        author: author.to_owned(),
        timeout_ms: 0,
        command: Some(command),
    };
    let response = registry.propose(group, request, PROPOSE_MAX).await?;
    match response.outcome {
        Some(Outcome::Revision(revision)) => Ok(revision),
        Some(Outcome::Refused(refused)) => Err(Problem::refused(refused)),
        Some(Outcome::Failed(failed)) => Err(Problem::failed(failed)),
        None => Err(Problem::new(Code::Internal, "no_outcome", "member's answer says nothing")),
    }
}

impl Api {
    /// Returns the config's revision after it.
    pub(super) async fn propose(
        &self,
        group: &GroupRecord,
        actor: &Actor,
        command: Command,
    ) -> Result<u64, Problem> {
        propose(&self.context.registry, group.id, actor.0.name.as_str(), command).await
    }

    /// Changes the config, and returns when the next session of this gateway goes by the change.
    pub(super) async fn change_config(
        &self,
        group: &GroupRecord,
        actor: &Actor,
        expected_revision: Option<u64>,
        change: Change,
    ) -> Result<u64, Problem> {
        let command = Command::Config(ConfigChange { expected_revision, change: Some(change) });
        let revision = self.propose(group, actor, command).await?;
        self.until_seen(group.id, |view| view.revision >= revision).await;
        Ok(revision)
    }

    /// Waits until what the group tells this gateway fits. The change is made already, so waiting is all that can time
    /// out, and then nothing is lost.
    pub(super) async fn until_seen(&self, group: GroupId, fits: impl Fn(&Snapshot) -> bool) {
        let mut changes = self.context.registry.changes_of(group);
        let seen = async {
            loop {
                let observed = self.context.registry.group(group);
                if observed.is_some_and(|observed| observed.view.as_deref().is_some_and(&fits)) {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(SEEN_MAX, seen).await;
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let (code, unsure) = match error {
            ProposeError::TimedOut { .. } => (Code::DeadlineExceeded, true),
            ProposeError::Unreachable { .. } => (Code::Unavailable, true),
            ProposeError::NoMember => (Code::Unavailable, false),
        };
        Self { unsure, ..Self::new(code, error.reason(), error.to_string()) }
    }
}
