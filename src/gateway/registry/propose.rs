//! Asking the group for something, through whichever member answers.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, transport::Channel};
use tracing::debug;
use warren_core::id::{AgentId, GroupId};
use warren_wire::v1::{self, control_client::ControlClient};

use super::Registry;

/// How long a group of which nobody can be asked yet is waited for.
const COMES_WITHIN: Duration = Duration::from_millis(1_500);

/// Why a group gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error("no member of the group has a tunnel to this gateway")]
    NoMember,
    #[error("group did not answer within {} ms; the change may still be made", after.as_millis())]
    TimedOut { after: Duration },
    #[error("no member could be asked ({members} tried), the last one said: {last}")]
    Unreachable { members: usize, last: String },
}

impl ProposeError {
    /// A stable word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoMember => "no_member",
            Self::TimedOut { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

impl Registry {
    /// Asks for a change, the leader first, the next member when one cannot be reached or cannot decide. It is the same
    /// request with the same id, so it is applied once. Answers within `timeout`.
    pub async fn propose(
        &self,
        group: GroupId,
        request: v1::ProposeRequest,
        timeout: Duration,
    ) -> Result<v1::ProposeResponse, ProposeError> {
        let deadline = Instant::now() + timeout;
        let undecided = |response: &v1::ProposeResponse| {
            matches!(response.outcome, Some(v1::propose_response::Outcome::Failed(_)) | None)
        };
        let ask = |mut client: ControlClient<Channel>, share: Duration| {
            let timeout_ms = u32::try_from(share.as_millis()).unwrap_or(u32::MAX);
            let request = v1::ProposeRequest { timeout_ms, ..request.clone() };
            async move { client.propose(request).await }
        };
        self.ask(group, deadline, timeout, undecided, ask).await
    }

    /// Config revisions, newest first; 0 for all that are kept.
    pub async fn history(&self, group: GroupId, limit: u32) -> Result<Vec<v1::HistoryEntry>, ProposeError> {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + TIMEOUT;
        let ask = |mut client: ControlClient<Channel>, _| async move {
            client.history(v1::HistoryRequest { limit }).await
        };
        self.ask(group, deadline, TIMEOUT, |_| false, ask).await.map(|response| response.entries)
    }

    /// Those who can be asked, once somebody can: an agent says that it serves a moment before the gateway can ask it.
    async fn controls_soon(
        &self,
        group: GroupId,
        deadline: Instant,
    ) -> Vec<(AgentId, ControlClient<Channel>)> {
        let group = self.entry(group);
        let mut changes = group.changes();
        let until = deadline.min(Instant::now() + COMES_WITHIN);
        loop {
            let controls = group.controls();
            if !controls.is_empty() || timeout_at(until, changes.changed()).await.is_err() {
                return controls;
            }
        }
    }

    /// Goes through the members until one gives an answer with which `go_on` is content; else the last such answer.
    async fn ask<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        group: GroupId,
        deadline: Instant,
        timeout: Duration,
        go_on: impl Fn(&T) -> bool,
        ask: impl Fn(ControlClient<Channel>, Duration) -> F,
    ) -> Result<T, ProposeError> {
        let mut members = 0;
        let mut last = None;
        let mut answer = None;
        let mut timed_out = false;
        let controls = self.controls_soon(group, deadline).await;
        for (number, (member, client)) in controls.iter().enumerate() {
            members += 1;
            // A member that hangs must not use up the time of those that would answer.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = if number + 1 == controls.len() { left } else { left / 2 };
            match timeout_at(Instant::now() + share, ask(client.clone(), share)).await {
                Err(_) => timed_out = true,
                Ok(Ok(response)) => {
                    let response = response.into_inner();
                    if !go_on(&response) {
                        return Ok(response);
                    }
                    answer = Some(response);
                }
                Ok(Err(status)) => last = Some(refused(group, *member, &status)),
            }
        }
        match (answer, last) {
            (Some(answer), _) => Ok(answer),
            (None, _) if timed_out => Err(ProposeError::TimedOut { after: timeout }),
            (None, Some(last)) => Err(ProposeError::Unreachable { members, last }),
            (None, None) => Err(ProposeError::NoMember),
        }
    }
}

fn refused(group: GroupId, member: AgentId, status: &Status) -> String {
    debug!(%group, %member, code = ?status.code(), message = status.message(), "control call failed");
    match status.code() {
        Code::Unknown | Code::Unavailable => format!("its tunnel broke ({})", status.message()),
        _ => status.message().to_owned(),
    }
}
