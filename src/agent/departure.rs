//! Leaving the group for good, when the agent is not to come back: it is uninstalled, or its StatefulSet has shrunk below it.
//!
//! The group first: its members decide whether they can do without this one, and bar its id. Then the gateway, which shuts
//! the id out; should it be away, people may revoke it later, and nothing waits for that. The note in the data folder has
//! the next start enrol anew, as an agent with an empty folder does.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};
use warren_core::{id::AgentId, state::Refusal};
use warren_group::Group;
use warren_wire::v1;

use crate::{
    cloud::{Cloud, CloudError, causes},
    config::Kubernetes,
    identity::Folder,
    stateful_set,
};

/// How long the group may take: others may be leaving at the same moment, and it lets go one at a time.
const GROUP_WITHIN: Duration = Duration::from_secs(8);
/// One question to it.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Pause before it is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const GATEWAY_WITHIN: Duration = Duration::from_secs(5);

/// How one agent leaves.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) group: Group,
    pub(crate) cloud: Cloud,
    pub(crate) folder: Folder,
    pub(crate) me: AgentId,
}

/// Whether a member that is told to stop is not to come back. Not knowing means that it is.
pub(crate) async fn is_due(folder: &Folder, kubernetes: Option<&Kubernetes>) -> bool {
    match folder.take_leave_note(SystemTime::now()) {
        Ok(true) => return true,
        Ok(false) => {}
        Err(error) => {
            let error = causes(&error);
            tracing::warn!(error, "not known whether this agent is to leave its group, it stays a member");
        }
    }
    let Some(kubernetes) = kubernetes else { return false };
    match stateful_set::scaled_away(kubernetes).await {
        Ok(due) => due,
        Err(error) => {
            let error = causes(&error);
            tracing::warn!(pod = %kubernetes.pod, error, "not known whether the StatefulSet has shrunk, this agent stays a member");
            false
        }
    }
}

impl Departure {
    /// The group must be served still.
    pub(crate) async fn leave(&self) {
        if self.group.has_log() && !self.leave_group().await {
            return;
        }
        if let Err(error) = self.folder.note_left(self.me) {
            let error = causes(&error);
            tracing::error!(agent = %self.me, error, "left, and cannot note it: empty the data folder before the next start");
        }
        match self.leave_gateway().await {
            Ok(()) => tracing::info!(agent = %self.me, "left its group for good, the next start enrols anew"),
            Err(why) => tracing::warn!(
                agent = %self.me,
                why,
                "left its group for good, but no gateway knows: revoke it there (warren agents revoke)"
            ),
        }
    }

    /// Whether the group has let this agent go for certain. When that is not known it stays: a vote that is given up by
    /// mistake may be the one that the others need.
    async fn leave_group(&self) -> bool {
        let deadline = Instant::now() + GROUP_WITHIN;
        loop {
            let why = match self.group.leave(ANSWER_WITHIN).await {
                Ok(Ok(_) | Err(Refusal::UnknownMember(_) | Refusal::Departed(_))) => return true,
                Ok(Err(refusal)) => refusal.to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() + AGAIN_AFTER + ANSWER_WITHIN > deadline {
                tracing::warn!(agent = %self.me, why, "group has not let this agent go, it stays a member");
                return false;
            }
            tracing::debug!(agent = %self.me, why, "group is asked again to let this agent go");
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn leave_gateway(&self) -> Result<(), String> {
        let asked = self.cloud.ask(|mut client| async move { client.leave(v1::LeaveRequest {}).await });
        match timeout(GATEWAY_WITHIN, asked).await {
            Ok(Ok(_)) => Ok(()),
            // An answer that was lost.
            Ok(Err(CloudError::Refused { reason, .. })) if reason == "revoked" => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {GATEWAY_WITHIN:?}")),
        }
    }
}
