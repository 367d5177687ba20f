//! Why a gateway was not reached, so that a person knows what to do and a metric has a label.

use std::{error::Error, io, time::Duration};

use rustls::{AlertDescription, CertificateError};

use super::{ProxyError, tls_error};

/// Why a gateway was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("url {url} is not https://host[:port]")]
    Url { url: String },
    #[error("cannot resolve {host}")]
    Dns {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} refuses connections")]
    Refused {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    /// A proxy did not bring us to the gateway.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("{step} took longer than {after:?}")]
    Timeout { step: &'static str, after: Duration },
    #[error("tls with {host} failed: {failure}")]
    Tls {
        host: String,
        failure: TlsFailure,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What the gateway says of an agent that it does not want.
    #[error("gateway answered {status}: {body}")]
    Rejected { status: u16, body: String },
    #[error("{host} is no gateway: its answer to the upgrade is wrong")]
    NotAGateway { host: String },
    #[error("the connection broke during the upgrade")]
    Upgrade(#[source] hyper::Error),
}

/// What went wrong in TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    #[error("its certificate is of an authority that we do not trust")]
    UnknownIssuer,
    #[error("its certificate has expired; check both clocks")]
    Expired,
    #[error("its certificate is not valid yet; check both clocks")]
    NotYetValid,
    #[error("its certificate is for another name")]
    WrongName,
    /// The gateway's words for our certificate, such as `certificate_expired`.
    #[error("it refuses our certificate: {0}")]
    OurCertificate(String),
    #[error("{0}")]
    Other(String),
}

impl DialError {
    /// Name for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Dns { .. } => "dns",
            Self::Refused { .. } => "refused",
            Self::Connect { .. } => "connect",
            Self::Proxy(error) => error.failure.as_str(),
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::Rejected { .. } => "rejected",
            Self::NotAGateway { .. } => "not_a_gateway",
            Self::Upgrade(_) => "upgrade",
        }
    }

    pub(super) fn of_connect(address: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address, source },
            _ => Self::Connect { address, source },
        }
    }

    pub(super) fn of_tls(host: &str, source: io::Error) -> Self {
        let failure = tls_error(&source)
            .map_or_else(|| TlsFailure::Other("the connection broke".to_owned()), TlsFailure::of);
        Self::Tls { host: host.to_owned(), failure, source: Box::new(source) }
    }

    /// In TLS 1.3 a client learns only after the handshake what the server thinks of its certificate.
    pub(super) fn of_upgrade(host: &str, source: hyper::Error) -> Self {
        match tls_error(&source).map(TlsFailure::of) {
            Some(failure) => Self::Tls { host: host.to_owned(), failure, source: Box::new(source) },
            None => Self::Upgrade(source),
        }
    }
}

impl TlsFailure {
    fn of(error: &rustls::Error) -> Self {
        use CertificateError as E;
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                // The second: an authority of the same name with another key, such as one made anew.
                E::UnknownIssuer | E::BadSignature => Self::UnknownIssuer,
                E::Expired | E::ExpiredContext { .. } => Self::Expired,
                E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
                E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
                other => Self::Other(format!("its certificate is not acceptable: {other:?}")),
            },
            rustls::Error::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError => Self::OurCertificate(format!("{alert:?}")),
                other => Self::Other(format!("it sent the alert {other:?}")),
            },
            other => Self::Other(other.to_string()),
        }
    }
}
