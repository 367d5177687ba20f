//! How a session stands or ended.

use std::collections::BTreeSet;

use warren_tunnel::{OpenResult, ResetReason};

use crate::metrics;

/// How a session stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// Both directions came to their end.
    Closed,
    /// It was open, and was cut.
    Cut(ResetReason),
    /// No member got it through to the target.
    NotOpened(Failure),
}

/// Why a session was never open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The last member that was asked answered so.
    Answered(OpenResult),
    /// The tunnel broke while bytes of the caller were on their way: they may have reached the target.
    TunnelLost,
    /// The member did not answer in time.
    NoAnswer,
    /// No member has a tunnel, or none may take sessions.
    NoMember,
    /// The group has no such resource.
    UnknownResource,
    /// The caller went away first.
    CallerGone,
    /// The gateway holds as many sessions as it may.
    GatewayFull,
    /// The gateway stops.
    Stopping,
}

impl Failure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(OpenResult::Unknown) => "unknown_resource",
            Self::Answered(result) => result.as_str(),
            Self::TunnelLost => "tunnel_lost",
            Self::NoAnswer => "no_answer",
            Self::NoMember => "no_member",
            Self::UnknownResource => "unknown_resource",
            Self::CallerGone => "caller_gone",
            Self::GatewayFull => "gateway_full",
            Self::Stopping => "stopping",
        }
    }
}

impl Outcome {
    /// One word for metrics, the API and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => metrics::CLOSED,
            Self::Cut(reason) => reason.as_str(),
            Self::NotOpened(failure) => failure.as_str(),
        }
    }

    /// Every word with which a session may end.
    pub(crate) fn ends() -> BTreeSet<&'static str> {
        let refused = OpenResult::ALL.iter().filter(|result| **result != OpenResult::Ok);
        let failed = refused.map(|result| Failure::Answered(*result)).chain([
            Failure::TunnelLost,
            Failure::NoAnswer,
            Failure::NoMember,
            Failure::UnknownResource,
            Failure::CallerGone,
            Failure::GatewayFull,
            Failure::Stopping,
        ]);
        let cut = ResetReason::ALL.iter().map(|reason| Self::Cut(*reason));
        failed.map(Self::NotOpened).chain(cut).chain([Self::Closed]).map(Self::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_explained() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observe.md");
        let page = std::fs::read_to_string(page).unwrap();
        let ends = Outcome::ends();
        assert!(ends.contains("closed") && ends.contains("no_member") && !ends.contains("ok"), "{ends:?}");
        for end in ends {
            assert!(page.contains(&format!("`{end}`")), "docs/observe.md does not explain {end}");
        }
    }
}
