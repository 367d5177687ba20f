//! Why a proxy did not bring us to the gateway. Users, passwords and what the proxy wrote in its pages are not told.

use std::{error::Error, io, path::PathBuf, time::Duration};

use super::{DialError, Proxy};

/// A proxy, and why it did not bring us to the gateway.
#[derive(Debug, thiserror::Error)]
#[error("proxy {proxy} {failure}")]
pub struct ProxyError {
    /// Without user and password.
    pub proxy: String,
    pub failure: ProxyFailure,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What is wrong. Reads on from "proxy http://host:port".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFailure {
    #[error("cannot be reached")]
    Unreachable,
    #[error("has its password in `{}`, which cannot be used", path.display())]
    PasswordFile { path: PathBuf },
    #[error("refused our user name or password ({how})")]
    Credentials { how: &'static str },
    #[error("asks for a user name and password, give them in its url ({how})")]
    NoCredentials { how: &'static str },
    /// HTTP only: none of the schemes is Basic.
    #[error("asks for authentication by {offered}, only Basic is known here ({how})")]
    Scheme { offered: String, how: &'static str },
    #[error("does not let us connect to {to} ({how})")]
    Forbidden { to: String, how: String },
    /// Its own way to the gateway is broken.
    #[error("cannot reach {to} ({how})")]
    Target { to: String, how: String },
    #[error("does not do what it was asked ({how})")]
    Answer { how: String },
    #[error("does not speak {expected}, check its url")]
    NotAProxy { expected: &'static str },
    #[error("answers with more than {max} bytes of headers")]
    TooLong { max: usize },
    #[error("closed the connection")]
    Closed,
    #[error("broke the connection")]
    Broken,
    #[error("did not answer within {after:?}")]
    Silent { after: Duration },
    /// What was asked for does not fit into the protocol.
    #[error("cannot be asked for {to}")]
    Unspeakable { to: String },
}

impl ProxyFailure {
    /// Name for metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable => "proxy_unreachable",
            Self::PasswordFile { .. } => "proxy_password_file",
            Self::Credentials { .. } | Self::NoCredentials { .. } | Self::Scheme { .. } => {
                "proxy_credentials"
            }
            Self::Forbidden { .. } => "proxy_forbidden",
            Self::Target { .. } => "proxy_target",
            Self::Answer { .. } | Self::NotAProxy { .. } | Self::TooLong { .. } => "proxy_answer",
            Self::Closed | Self::Broken => "proxy_closed",
            Self::Silent { .. } => "proxy_timeout",
            Self::Unspeakable { .. } => "url",
        }
    }

    /// Trying again soon would only be noise, or lock an account: somebody has to change something first.
    pub const fn needs_people(&self) -> bool {
        matches!(
            self,
            Self::PasswordFile { .. }
                | Self::Credentials { .. }
                | Self::NoCredentials { .. }
                | Self::Scheme { .. }
                | Self::Forbidden { .. }
        )
    }
}

/// A failure on its way to the proxy's name.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: ProxyFailure,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Trouble {
    pub(super) fn of(self, proxy: &Proxy) -> ProxyError {
        ProxyError { proxy: proxy.to_string(), failure: self.failure, source: self.source }
    }

    pub(super) fn unreachable(source: DialError) -> Self {
        Self { failure: ProxyFailure::Unreachable, source: Some(source.into()) }
    }

    pub(super) fn password_file(path: &std::path::Path, source: io::Error) -> Self {
        Self { failure: ProxyFailure::PasswordFile { path: path.to_owned() }, source: Some(source.into()) }
    }
}

impl From<ProxyFailure> for Trouble {
    fn from(failure: ProxyFailure) -> Self {
        Self { failure, source: None }
    }
}

/// While speaking with the proxy.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ProxyFailure::Closed.into(),
            _ => Self { failure: ProxyFailure::Broken, source: Some(error.into()) },
        }
    }
}
