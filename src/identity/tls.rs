//! The five ways in which Warren speaks TLS: 1.3 only, aws-lc only.
//!
//! Certificates and roots are swapped inside a config ([`SwappableKey`], [`Trust`]): connections that are up stay up,
//! the next handshake uses what is new.
//!
//! **No session is ever resumed**, on either side. A resumed handshake verifies nothing, and hands on the certificate
//! of the first connection: an agent that renewed would be known by its old certificate until that expires, and
//! then be refused for good, since each resumption renews its own ticket. Holders of a root that was dropped would
//! come back the same way. A full handshake with certificates on both sides costs a third of a millisecond of each CPU.
//! Still, whoever accepts a connection reads [`crate::PeerIdentity`] from `peer_certificates()` and asks the store about
//! revocation: TLS knows neither groups (on the gateway) nor revocation.

use std::{io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use warren_core::id::GroupId;

use crate::leaf::IdentityError;

mod swap;
mod trust;

pub use swap::SwappableKey;
pub use trust::Trust;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("root certificates cannot be read as PEM")]
    RootsUnreadable { source: rustls_pki_types::pem::Error },
    #[error("root certificate is malformed")]
    RootMalformed { source: rustls::Error },
    #[error("no root certificate to trust, expected at least one in PEM")]
    NoRoots,
    #[error(
        "this system has no root certificates ({problems}), install them or give a file with the root to trust"
    )]
    NoNativeRoots { problems: String },
    #[error("certificate cannot be read as PEM")]
    CertificateUnreadable { source: rustls_pki_types::pem::Error },
    #[error("certificate file holds no certificate")]
    NoCertificate,
    #[error("private key cannot be read as PEM")]
    KeyUnreadable { source: rustls_pki_types::pem::Error },
    #[error("private key does not belong to the certificate, or is of a kind that TLS 1.3 does not know")]
    KeyMismatch { source: rustls::Error },
    #[error("certificate verifier cannot be built")]
    Verifier { source: rustls::server::VerifierBuilderError },
    #[error("TLS 1.3 is not available")]
    Version { source: rustls::Error },
}

/// The gateway's public port: shows `key`, takes client certificates of `agents` and callers without any.
///
/// A client certificate that is shown but bad fails the handshake. No certificate is no failure here, so that
/// enrolment and the API share the port: whoever needs an identity asks [`crate::PeerIdentity`] for it.
pub fn gateway_server(
    key: Arc<SwappableKey>,
    agents: Arc<Trust>,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    server(key, trust::ClientVerifier::optional(agents), alpn)
}

/// An agent's port for the other members: only agents of `group` get through the handshake.
pub fn peer_server(
    key: Arc<SwappableKey>,
    roots: Arc<Trust>,
    group: GroupId,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    server(key, trust::ClientVerifier::members(roots, group), alpn)
}

/// An agent dialling a gateway, or with `key` absent anybody who has no certificate (enrolment, CLI).
pub fn agent_client(
    roots: Arc<Trust>,
    key: Option<Arc<SwappableKey>>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    client(trust::ServerVerifier::anybody(roots), key, alpn)
}

/// An agent dialling another member of `group`. The server name to ask for is
/// [`crate::authority::agent_server_name`]: another member than the addressee is refused, and so is another group.
pub fn peer_client(
    key: Arc<SwappableKey>,
    roots: Arc<Trust>,
    group: GroupId,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    client(trust::ServerVerifier::members(roots, group), Some(key), alpn)
}

/// A gateway dialling another one that shares its store. The server name to ask for is
/// [`crate::authority::gateway_server_name`]: only a gateway with that id is given one.
pub fn neighbour_client(
    key: Arc<SwappableKey>,
    roots: Arc<Trust>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    client(trust::ServerVerifier::anybody(roots), Some(key), alpn)
}

/// Which roots may vouch for a gateway: those in `given` (the operator's CA file, PEM), or without one the system's;
/// and in either case `learned`, the bundle that came with the agent's own certificate, so that the gateway's CA
/// can be rotated without touching the agent's files.
pub fn gateway_roots(given: Option<&str>, learned: Option<&str>) -> Result<RootCertStore, TlsError> {
    let mut roots = match given {
        Some(pem) => roots_from_pem(pem)?,
        None => match (native_roots(), learned) {
            (Err(_), Some(_)) => RootCertStore::empty(),
            (native, _) => native?,
        },
    };
    if let Some(pem) = learned {
        roots.extend(roots_from_pem(pem)?.roots);
    }
    Ok(roots)
}

/// Every certificate in `pem`, at least one.
pub fn roots_from_pem(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let root = root.map_err(|source| TlsError::RootsUnreadable { source })?;
        roots.add(root).map_err(|source| TlsError::RootMalformed { source })?;
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// The roots that the operating system trusts. Reads files; takes milliseconds.
pub fn native_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry roots that webpki cannot read; the others still serve.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problems = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(TlsError::NoNativeRoots { problems });
    }
    Ok(roots)
}

/// Why a TLS connection failed, as a label for metrics and logs; one of about a dozen words. Understands our own
/// verdict on the peer and the peer's alert about us (after TLS 1.3 a client learns of that with its first read).
pub fn failure_reason(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(verdict)) => verdict_reason(verdict),
        Some(rustls::Error::AlertReceived(alert)) => alert_reason(*alert),
        Some(rustls::Error::NoCertificatesPresented) => "no_certificate",
        Some(rustls::Error::NoApplicationProtocol) => "no_protocol",
        Some(_) => "tls",
        None if error.kind() == io::ErrorKind::TimedOut => "timeout",
        None => "io",
    }
}

fn verdict_reason(verdict: &CertificateError) -> &'static str {
    match verdict {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "cert_expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "cert_not_yet_valid",
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "unknown_issuer",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "wrong_name",
        CertificateError::Other(other) => {
            other.0.downcast_ref::<IdentityError>().map_or("bad_certificate", IdentityError::reason)
        }
        _ => "bad_certificate",
    }
}

fn alert_reason(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "cert_expired",
        AlertDescription::UnknownCA => "unknown_issuer",
        AlertDescription::CertificateRequired => "no_certificate",
        AlertDescription::NoApplicationProtocol => "no_protocol",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "bad_certificate",
        _ => "tls",
    }
}

fn server(
    key: Arc<SwappableKey>,
    verifier: Arc<trust::ClientVerifier>,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Version { source })?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key);
    config.alpn_protocols = protocols(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(
    verifier: Arc<trust::ServerVerifier>,
    key: Option<Arc<SwappableKey>>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Version { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests;
