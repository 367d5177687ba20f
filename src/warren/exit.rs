//! What the process says with its exit code, and the errors that know theirs.

use std::{error::Error, fmt, process::ExitCode};

use warren_core::fields::ConfigError;
use warren_gateway::{setup::SetupError, store::StoreError};
use warren_identity::{AuthorityError, SealError};

use crate::{client::Refusal, commands::recover};

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage or configuration: the same command fails again until it is changed.
    Usage = 2,
    /// Permission, a guard, no quorum, a stale revision, a registration token that is no good.
    Refused = 3,
    /// Whoever was asked was not there or did not answer in time.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), source: None }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The exit code of an error: that of the outermost cause that has one, else [`Exit::Failed`].
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(known).unwrap_or(Exit::Failed)
}

fn known(cause: &(dyn Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(refusal) = cause.downcast_ref::<Refusal>() {
        return Some(refusal.exit());
    }
    if let Some(error) = cause.downcast_ref::<warren_agent::StartError>() {
        return Some(match error.exit_code() {
            2 => Exit::Usage,
            3 => Exit::Refused,
            _ => Exit::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<warren_agent::RecoverError>() {
        return Some(recover::exit_of(error));
    }
    if let Some(warren_gateway::StartError::Setup(error)) = cause.downcast_ref() {
        let wrong_key = matches!(
            error,
            SetupError::OperatorKey(_)
                | SetupError::OperatorKeyMissing { .. }
                | SetupError::Authority(AuthorityError::Seal(SealError::WrongKey { .. }))
        );
        if wrong_key {
            return Some(Exit::Usage);
        }
        // Transparent errors stand in for their source, which the chain then leaves out.
        if let SetupError::Store(error) = error {
            return known(error).or(Some(Exit::Failed));
        }
        return Some(Exit::Failed);
    }
    match cause.downcast_ref() {
        Some(StoreError::OpenAway { .. } | StoreError::Away { .. }) => return Some(Exit::Unreachable),
        Some(StoreError::NotEmpty { .. }) => return Some(Exit::Refused),
        _ => {}
    }
    let mistakes = cause.is::<ConfigError>() || cause.is::<warren_gateway::config::LoadError>();
    mistakes.then_some(Exit::Usage)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_outermost_cause_that_knows_decides() {
        let inner = Failure::new(Exit::Refused, "no");
        let outer = Failure::unreachable("gone").because(inner);
        assert_eq!(of(&anyhow::Error::new(outer).context("while asking")), Exit::Unreachable);
        assert_eq!(of(&anyhow::anyhow!("plain")), Exit::Failed);
    }

    #[test]
    fn mistakes_in_a_file_are_wrong_configuration() {
        let mistakes = ConfigError { origin: "a.yaml".into(), problems: Vec::new() };
        let error = Err::<(), _>(mistakes).context("cannot start").unwrap_err();
        assert_eq!(of(&error), Exit::Usage);
    }

    #[test]
    fn an_operator_key_of_another_store_is_wrong_configuration() {
        let key = |text: &str| text.to_owned();
        let wrong =
            SealError::WrongKey { purpose: key("authority"), sealed_under: key("a"), given: key("b") };
        let error = warren_gateway::StartError::Setup(SetupError::Authority(wrong.into()));
        assert_eq!(of(&error.into()), Exit::Usage);
    }

    #[test]
    fn a_store_that_does_not_answer_is_not_reachable_and_one_that_is_not_empty_refuses() {
        let away = StoreError::Away { act: "list groups", source: "gone".into() };
        let error = warren_gateway::StartError::Setup(SetupError::Store(away));
        assert_eq!(of(&error.into()), Exit::Unreachable);
        assert_eq!(of(&StoreError::NotEmpty { what: "users" }.into()), Exit::Refused);
    }

    #[test]
    fn the_cause_is_told_after_the_failure() {
        let error = anyhow::Error::new(Failure::usage("cannot read `x`").because("no such file"));
        assert_eq!(format!("{error:#}"), "cannot read `x`: no such file");
    }
}
