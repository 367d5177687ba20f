//! What went wrong, in one manner for every call: a gRPC status, a sentence, and a stable word in `warren-reason`.

use std::{borrow::Cow, error::Error};

use thiserror::Error;
use tonic::{Code, Status, metadata::MetadataValue};
use tracing::error;
use warren_core::{config::PolicyError, destination::DestinationError, id::NameError};
use warren_wire::{convert::ConvertError, v1};

use crate::{
    ingress::IngressError,
    store::{StoreError, UserRoleError},
};

/// Metadata key of the word that programs go by.
pub(crate) const REASON: &str = "warren-reason";

/// It travels as a header, where a letter may take three bytes and clients take 16 KiB in all.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    /// What was asked for may still be made.
    pub(crate) unsure: bool,
}

impl Problem {
    pub(crate) fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), unsure: false }
    }

    /// The caller asked for something that cannot be understood.
    pub(crate) fn invalid(message: impl ToString) -> Self {
        Self::new(Code::InvalidArgument, "invalid", message.to_string())
    }

    pub(crate) fn unknown(what: &'static str, name: &str) -> Self {
        let reason = format!("unknown_{}", what.replace(' ', "_"));
        Self::new(Code::NotFound, reason, format!("there is no {what} `{name}`"))
    }

    /// Several things go by that name.
    pub(crate) fn ambiguous(what: &'static str, name: &str, candidates: &[String]) -> Self {
        let message = format!("{what} `{name}` is ambiguous, say which one: {}", candidates.join(", "));
        Self::new(Code::InvalidArgument, format!("ambiguous_{}", what.replace(' ', "_")), message)
    }

    /// The group decided against it.
    pub(crate) fn refused(refused: v1::Refused) -> Self {
        let code = match refused.reason.as_str() {
            "stale" => Code::Aborted,
            "resource_exists" => Code::AlreadyExists,
            "unknown_resource" | "unknown_member" | "unknown_revision" => Code::NotFound,
            "weight" | "tier" | "invalid" => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        };
        Self::new(code, refused.reason, refused.message)
    }

    /// The group could not decide.
    pub(crate) fn failed(failed: v1::Failed) -> Self {
        let code = match failed.reason.as_str() {
            "no_quorum" | "would_lose_quorum" => Code::FailedPrecondition,
            "timeout" => Code::DeadlineExceeded,
            _ => Code::Unavailable,
        };
        // A program from before members said so has said it by this word.
        let unsure = failed.unsure || failed.reason == "timeout";
        Self { unsure, ..Self::new(code, failed.reason, failed.message) }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut status = Self::new(problem.code, cut_short(&problem.message, MESSAGE_BYTES_MAX));
        // A reason that came from elsewhere may be no word at all; the sentence still tells.
        if let Ok(reason) = MetadataValue::try_from(problem.reason.as_ref()) {
            status.metadata_mut().insert(REASON, reason);
        }
        status
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let what_reason = |what: &str, suffix: &str| format!("{}_{suffix}", what.replace(' ', "_"));
        match error {
            StoreError::Taken { what, .. } => {
                Self::new(Code::AlreadyExists, what_reason(what, "exists"), message)
            }
            StoreError::Unknown { what, name } => Self::unknown(what, &name),
            StoreError::CustomerInUse { .. } => {
                Self::new(Code::FailedPrecondition, "customer_in_use", message)
            }
            StoreError::LastAdmin { .. } => Self::new(Code::FailedPrecondition, "last_admin", message),
            failed @ StoreError::Away { .. } => {
                error!(error = causes(&failed), "store does not answer");
                Self::new(
                    Code::Unavailable,
                    "store_away",
                    "gateway's store does not answer at the moment: sessions go on, whatever needs the store must wait",
                )
            }
            failed @ (StoreError::Database { .. }
            | StoreError::Corrupt { .. }
            | StoreError::NotEmpty { .. }
            | StoreError::NoTables { .. }
            | StoreError::OtherTables { .. }
            | StoreError::OpenAway { .. }
            | StoreError::Open { .. }) => {
                error!(error = causes(&failed), "store failed");
                Self::new(
                    Code::Unavailable,
                    "store_failed",
                    "gateway's store does not work at the moment, its log says why",
                )
            }
        }
    }
}

impl From<IngressError> for Problem {
    fn from(error: IngressError) -> Self {
        let code = match &error {
            IngressError::Address { .. } => Code::InvalidArgument,
            IngressError::InUse { .. } | IngressError::Listening { .. } => Code::AlreadyExists,
            IngressError::NoPort { .. } => Code::ResourceExhausted,
            IngressError::Bind { .. } => Code::FailedPrecondition,
            IngressError::Stopping => Code::Unavailable,
            IngressError::Store(_) => {
                error!(error = causes(&error), "listener cannot be kept");
                Code::Unavailable
            }
        };
        Self::new(code, error.reason(), causes(&error))
    }
}

macro_rules! invalid {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::invalid(error)
            }
        })+
    };
}

invalid!(NameError, PolicyError, DestinationError, ConvertError, UserRoleError);

/// The beginning of a text that is longer than `bytes_max`, with a mark that it goes on.
pub(crate) fn cut_short(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    const MARK: &str = " …";
    let head = text.floor_char_boundary(bytes_max - MARK.len());
    Cow::Owned(format!("{}{MARK}", &text[..head]))
}

/// An error with its causes, for the log.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason() {
        let refused = v1::Refused { reason: "stale".into(), message: "revision is 2, not 1".into() };
        let status = Status::from(Problem::refused(refused));
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.metadata().get(REASON).unwrap(), "stale");
        assert_eq!(status.message(), "revision is 2, not 1");
    }

    #[test]
    fn a_long_message_fits_a_header() {
        let status = Status::from(Problem::invalid("é".repeat(9_000)));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX && status.message().ends_with("é …"));
        assert_eq!(cut_short("short", 5), "short");
        assert_eq!(cut_short("shorter", 6), "sh …");
    }

    #[test]
    fn the_loss_of_quorum_is_told_apart_from_trouble() {
        let failed = |reason: &str| {
            Problem::failed(v1::Failed { reason: reason.into(), ..v1::Failed::default() }).code
        };
        assert_eq!(failed("no_quorum"), Code::FailedPrecondition);
        let is_unsure = |reason: &str, unsure| {
            Problem::failed(v1::Failed { reason: reason.into(), message: String::new(), unsure }).unsure
        };
        assert!(is_unsure("no_quorum", true) && !is_unsure("no_quorum", false));
        assert!(is_unsure("timeout", false), "as members said it who did not say more");
        assert_eq!(failed("no_leader"), Code::Unavailable);
        assert_eq!(failed("timeout"), Code::DeadlineExceeded);
    }

    #[test]
    fn a_store_that_fails_tells_callers_nothing_of_itself() {
        let act = "list groups";
        let failed = StoreError::Database { act, source: sqlx::Error::PoolTimedOut };
        let away = StoreError::Away { act, source: "pool of 10.0.0.1".into() };
        for (error, reason) in [(failed, "store_failed"), (away, "store_away")] {
            let problem = Problem::from(error);
            assert_eq!((problem.code, problem.reason.as_ref()), (Code::Unavailable, reason));
            assert!(!problem.message.contains("pool"));
        }
    }
}
