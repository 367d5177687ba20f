//! A call that failed: why, in words for people and for scripts.

use std::{error::Error, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};

use crate::exit::Exit;

/// Metadata key under which the gateway says the stable word.
const REASON: &str = "warren-reason";
/// Reasons that mean that the group will not decide at this time, whatever the status code.
const UNDECIDED: [&str; 2] = ["no_quorum", "no_leader"];

/// What the gateway answered instead of a result.
#[derive(Debug, Error)]
#[error("{message}{}", after(.reason))]
pub(crate) struct Refusal {
    code: Code,
    /// Stable word such as `no_quorum`; empty when the answer came from no gateway.
    reason: String,
    message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// No answer within the time.
    pub(crate) fn silent(waited: Duration) -> Self {
        let message = format!("the gateway did not answer within {} s", waited.as_secs());
        Self { code: Code::DeadlineExceeded, reason: String::new(), message, source: None }
    }

    pub(crate) fn exit(&self) -> Exit {
        exit_of(self.code, &self.reason, self.source.is_some())
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let reason = status.metadata().get(REASON).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let reason = reason.to_owned();
        let transport = reason.is_empty() && status.source().is_some();
        let message = match status.message() {
            _ if transport => "the connection to the gateway was lost before it answered".to_owned(),
            "" => format!("the gateway answered: {}", status.code().description()),
            message => message.to_owned(),
        };
        let code = status.code();
        let source = transport.then(|| Box::new(status) as Box<dyn Error + Send + Sync>);
        Self { code, reason, message, source }
    }
}

/// `transport` when the answer is not a gateway's but tells of a broken connection.
fn exit_of(code: Code, reason: &str, transport: bool) -> Exit {
    if transport {
        return Exit::Unreachable;
    }
    if UNDECIDED.contains(&reason) {
        return Exit::Refused;
    }
    match code {
        Code::Ok => Exit::Done,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::ResourceExhausted => Exit::Refused,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Exit::Unreachable,
        Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Failed,
    }
}

/// The stable word, and where there is an obvious one the next step.
fn after(reason: &str) -> String {
    let next = match reason {
        "" => return String::new(),
        "unknown_customer" => ", see `warren customers list`",
        "unknown_group" => ", see `warren groups list`",
        "unknown_agent" | "unknown_member" => ", see `warren agents list`",
        "unknown_resource" => ", see `warren resources list`",
        "unknown_token" => ", see `warren tokens list`",
        "unknown_revision" => ", see `warren config history`",
        "unknown_session" => ", see `warren sessions list --all`",
        "unknown_user" => ", see `warren users list`",
        "bad_token" => ", check --token or WARREN_TOKEN",
        "permission_denied" => ", ask with another --token",
        _ => "",
    };
    format!(" ({reason}){next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_reason(code: Code, reason: &'static str) -> Refusal {
        let mut status = Status::new(code, "the group has no quorum");
        status.metadata_mut().insert(REASON, reason.parse().unwrap());
        Refusal::from(status)
    }

    #[test]
    fn every_kind_of_answer_has_its_exit_code() {
        for (code, exit) in [
            (Code::Unauthenticated, Exit::Refused),
            (Code::PermissionDenied, Exit::Refused),
            (Code::FailedPrecondition, Exit::Refused),
            (Code::Aborted, Exit::Refused),
            (Code::InvalidArgument, Exit::Usage),
            (Code::Unavailable, Exit::Unreachable),
            (Code::DeadlineExceeded, Exit::Unreachable),
            (Code::NotFound, Exit::Failed),
            (Code::AlreadyExists, Exit::Failed),
            (Code::Internal, Exit::Failed),
        ] {
            assert_eq!(Refusal::from(Status::new(code, "x")).exit(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_group_without_quorum_refuses_whatever_the_code() {
        for code in [Code::Unavailable, Code::Aborted, Code::FailedPrecondition, Code::DeadlineExceeded] {
            let refusal = with_reason(code, "no_quorum");
            assert_eq!(refusal.exit(), Exit::Refused);
            assert_eq!(refusal.to_string(), "the group has no quorum (no_quorum)");
        }
    }

    #[test]
    fn the_next_step_is_told_where_there_is_one() {
        let mut status = Status::new(Code::NotFound, "there is no group `x`");
        status.metadata_mut().insert(REASON, "unknown_group".parse().unwrap());
        let told = Refusal::from(status).to_string();
        assert_eq!(told, "there is no group `x` (unknown_group), see `warren groups list`");
    }

    #[test]
    fn a_broken_connection_is_not_reachable() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let refusal = Refusal::from(Status::from_error(Box::new(broken)));
        assert_eq!(refusal.exit(), Exit::Unreachable);
        assert_eq!(Refusal::silent(Duration::from_secs(10)).exit(), Exit::Unreachable);
    }
}
