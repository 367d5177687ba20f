//! Why a target was not reached, typed for the gateway and told for people.

use std::{io, net::IpAddr, time::Duration};

use thiserror::Error;
use warren_core::{
    destination::{Pattern, Target},
    judge::Evidence,
};
use warren_tunnel::OpenResult;

/// Whose rules denied a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// The group's replicated config.
    Group,
    /// The veto in the agent's own file.
    Site,
}

impl List {
    /// Label for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Site => "site",
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::Group => "the group's config",
            Self::Site => "this site's veto",
        }
    }
}

#[derive(Debug, Error)]
pub(crate) enum DialFailure {
    #[error("no resource `{0}` in this member's config")]
    Unknown(String),
    #[error("cannot resolve `{host}`: {source}")]
    Dns { host: String, source: io::Error },
    /// `pattern` is absent when there is an allow list and the address is not on it.
    #[error("{target} at {address} is {}", denied(*list, pattern.as_ref()))]
    Denied { target: Target, address: IpAddr, list: List, pattern: Option<Pattern> },
    #[error("{target} refused the connection")]
    Refused { target: Target, source: io::Error },
    #[error("{target} did not answer within {after:?}")]
    Timeout { target: Target, after: Duration },
    #[error("{target} did not answer")]
    Silent { target: Target, source: io::Error },
    #[error("no way to {target}: {source}")]
    Unreachable { target: Target, source: io::Error },
    #[error("cannot dial {target}: {source}")]
    Internal { target: Target, source: io::Error },
}

impl DialFailure {
    /// What the gateway is answered.
    pub(crate) const fn result(&self) -> OpenResult {
        match self {
            Self::Unknown(_) => OpenResult::Unknown,
            Self::Dns { .. } => OpenResult::Dns,
            Self::Denied { .. } => OpenResult::Denied,
            Self::Refused { .. } => OpenResult::Refused,
            Self::Timeout { .. } | Self::Silent { .. } => OpenResult::Timeout,
            Self::Unreachable { .. } => OpenResult::Unreachable,
            Self::Internal { .. } => OpenResult::Internal,
        }
    }

    /// What a probe makes of it: a rule stays as it is, anything else may pass.
    pub(crate) const fn evidence(&self) -> Evidence {
        match self {
            Self::Denied { .. } => Evidence::Certain,
            _ => Evidence::Bad,
        }
    }

    pub(super) fn of_connect(target: &Target, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let target = target.clone();
        match source.kind() {
            Kind::ConnectionRefused | Kind::ConnectionReset => Self::Refused { target, source },
            // The kernel's own patience ended, which is longer than ours unless somebody set it so.
            Kind::TimedOut => Self::Silent { target, source },
            Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::AddrNotAvailable
            | Kind::NetworkDown
            | Kind::PermissionDenied => Self::Unreachable { target, source },
            _ => Self::Internal { target, source },
        }
    }
}

fn denied(list: List, pattern: Option<&Pattern>) -> String {
    match pattern {
        Some(pattern) => format!("denied by {} ({pattern})", list.told()),
        None => format!("not on the allow list of {}", list.told()),
    }
}
