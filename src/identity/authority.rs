//! The gateway's certificate authority.
//!
//! One self-signed P-256 root signs every leaf directly. Names in a leaf are chosen here and never by the one who asks:
//! of a request only its public key is taken, once its signature has proven that the asker holds the private one.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use warren_core::id::{AgentId, GatewayId, GroupId};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    key::{KeyError, PrivateKey},
    leaf::{IdentityError, Validity},
    random::random,
    seal::{OperatorKey, SealError},
};

mod issue;
mod request;

pub use issue::{
    IssuedCertificate, agent_dns_name, agent_server_name, gateway_dns_name, gateway_server_name,
};
pub use request::{AgentRequest, REQUEST_BYTES_MAX};

/// How long a root holds.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY);
/// How long an agent's certificate holds unless told otherwise.
pub const AGENT_LIFETIME: Duration = Duration::from_secs(7 * DAY);
/// How long a gateway's server certificate holds unless told otherwise.
pub const GATEWAY_LIFETIME: Duration = Duration::from_secs(90 * DAY);
/// How far certificates are dated back, for clocks that are behind ours.
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// What the name of every root begins with.
pub const ROOT_NAME: &str = "Warren gateway authority";
/// Roots that may be trusted at once: the one in use and, while rotating, the one before or after it.
pub const ROOTS_MAX: usize = 2;

const DAY: u64 = 24 * 60 * 60;
const PURPOSE: &str = "certificate authority key";

/// Why the authority cannot be set up or cannot issue.
#[derive(Debug, Error)]
pub enum AuthorityError {
    #[error("certificate request is larger than {REQUEST_BYTES_MAX} bytes")]
    RequestTooLarge,
    #[error("certificate request cannot be read or is not signed by its own key")]
    Request { source: rcgen::Error },
    #[error("certificate request is for another kind of key, use P-256")]
    RequestKey,
    #[error("`{name}` cannot stand in a gateway's certificate: {why}")]
    Name { name: String, why: &'static str },
    #[error("a gateway's certificate needs at least one name")]
    NoName,
    #[error("a certificate must hold for at least a minute")]
    Lifetime,
    #[error("certificate authority has expired, rotate it")]
    Expired,
    #[error("certificate authority's key does not belong to its certificate")]
    Mismatch,
    #[error("root certificate cannot be read, or cannot sign others")]
    Root,
    #[error("{ROOTS_MAX} roots are trusted already, drop one first")]
    TooManyRoots,
    #[error("cannot sign certificate")]
    Sign { source: rcgen::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Certificate(#[from] IdentityError),
}

/// An authority as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAuthority {
    /// Sealed under the operator's key.
    pub sealed_key: String,
    pub certificate_pem: String,
}

/// The certificate authority of one gateway store. Keep it as [`SealedAuthority`].
pub struct Authority {
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    validity: Validity,
    also_trusted: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// Makes a new root that holds for [`ROOT_LIFETIME`].
    pub fn generate(now: SystemTime) -> Result<Self, AuthorityError> {
        let key = PrivateKey::generate()?;
        let serial = issue::new_serial();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // Two roots live side by side while rotating: their names must differ, or a verifier tries the wrong one.
        let name = format!("{ROOT_NAME} {:08x}", u32::from_be_bytes(random()));
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - SKEW).into();
        params.not_after = (now + ROOT_LIFETIME).into();
        let certificate = params.self_signed(key.pair()).map_err(|source| AuthorityError::Sign { source })?;
        Self::assemble(key, certificate.into())
    }

    /// The form to store: key sealed, certificate as it is.
    pub fn export(&self, operator: &OperatorKey) -> Result<SealedAuthority, AuthorityError> {
        let sealed_key = operator.seal(PURPOSE, self.key.pair().serialized_der())?;
        Ok(SealedAuthority { sealed_key, certificate_pem: self.certificate_pem() })
    }

    /// Takes back what [`Self::export`] gave. Says so when `operator` is another key than it was sealed under.
    pub fn import(sealed: &SealedAuthority, operator: &OperatorKey) -> Result<Self, AuthorityError> {
        let key = PrivateKey::from_pkcs8(&operator.open(PURPOSE, &sealed.sealed_key)?)?;
        Self::assemble(key, root_from_pem(&sealed.certificate_pem)?)
    }

    /// Trusts another root beside this one, so that the authority can be rotated without cutting anybody off.
    /// The same root twice counts once; at most [`ROOTS_MAX`] in all.
    pub fn also_trust(&mut self, certificate_pem: &str) -> Result<(), AuthorityError> {
        let root = root_from_pem(certificate_pem)?;
        if root == self.certificate || self.also_trusted.contains(&root) {
            return Ok(());
        }
        if self.also_trusted.len() + 1 >= ROOTS_MAX {
            return Err(AuthorityError::TooManyRoots);
        }
        self.also_trusted.push(root);
        Ok(())
    }

    /// The root in use.
    pub fn certificate_pem(&self) -> String {
        to_pem(&self.certificate)
    }

    /// Every root that holders of our certificates should trust, the one in use first.
    pub fn bundle_pem(&self) -> String {
        std::iter::once(&self.certificate).chain(&self.also_trusted).map(to_pem).collect()
    }

    /// When the root in use holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Certifies an agent: client and server, named by its URI and by the DNS name that its peers dial
    /// ([`agent_dns_name`]). Holds for `lifetime` from `now`, but never longer than the root.
    pub fn issue_agent(
        &self,
        request: &AgentRequest,
        group: GroupId,
        agent: AgentId,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, AuthorityError> {
        issue::agent(self, request, group, agent, now, lifetime)
    }

    /// Makes a key and certifies it as a gateway's server, for DNS names (`*.` allowed in front) and IP addresses.
    pub fn issue_gateway(
        &self,
        gateway: GatewayId,
        names: &[String],
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<(IssuedCertificate, PrivateKey), AuthorityError> {
        let key = PrivateKey::generate()?;
        let issued = issue::gateway(self, key.pair(), gateway, names, now, lifetime)?;
        Ok((issued, key))
    }

    fn assemble(key: PrivateKey, certificate: CertificateDer<'static>) -> Result<Self, AuthorityError> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::Root)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.pair().public_key_raw() {
            return Err(AuthorityError::Mismatch);
        }
        let validity = Validity::of(&certificate)?;
        Ok(Self { key, certificate, validity, also_trusted: Vec::new() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("validity", &self.validity)
            .field("also_trusted", &self.also_trusted.len())
            .finish_non_exhaustive()
    }
}

fn root_from_pem(pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Root)?;
    match X509Certificate::from_der(&certificate) {
        Ok((_, parsed)) if parsed.is_ca() => Ok(certificate),
        _ => Err(AuthorityError::Root),
    }
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    issue::pem("CERTIFICATE", certificate)
}

#[cfg(test)]
mod tests;
