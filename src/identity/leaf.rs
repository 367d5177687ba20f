//! Who a certificate says its holder is.
//!
//! Only the leaf is ever read: other certificates in a chain are what the peer chose to send. TLS has checked by then
//! that a trusted root signed the leaf and that the peer holds its key; expiry is checked here once more, because a
//! connection lives longer than its handshake.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use warren_core::id::{AgentId, GatewayId, GroupId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What every URI of ours in a certificate starts with.
pub const SCHEME: &str = "warren://";
const GATEWAY: &str = "gateway/";

/// Why a peer has no identity here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    #[error("peer showed no certificate")]
    NoCertificate,
    #[error("certificate cannot be read")]
    Malformed,
    #[error("certificate names no agent of a group")]
    NotAnAgent,
    #[error("certificate names {count} identities, exactly one is allowed")]
    Ambiguous { count: usize },
    #[error("certificate of {agent} expired {} s ago, it must enrol again", ago.as_secs())]
    Expired { agent: AgentId, ago: Duration },
    #[error("certificate of {agent} is not valid for another {} s, check the clocks", wait.as_secs())]
    NotYetValid { agent: AgentId, wait: Duration },
    #[error("{agent} is of group {group}, not of {expected}")]
    OtherGroup { agent: AgentId, group: GroupId, expected: GroupId },
}

impl IdentityError {
    /// A label for metrics; one of seven words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "malformed_certificate",
            Self::NotAnAgent => "not_an_agent",
            Self::Ambiguous { .. } => "ambiguous_identity",
            Self::Expired { .. } => "cert_expired",
            Self::NotYetValid { .. } => "cert_not_yet_valid",
            Self::OtherGroup { .. } => "other_group",
        }
    }
}

/// When a certificate holds, to the second, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Validity {
    /// Reads the times of any certificate, such as one's own.
    pub fn of(der: &[u8]) -> Result<Self, IdentityError> {
        Self::read(&parse(der)?)
    }

    /// When to renew: at half of its life.
    pub fn renew_at(&self) -> SystemTime {
        self.not_before + self.not_after.duration_since(self.not_before).unwrap_or_default() / 2
    }

    pub fn holds(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// How long it still holds; zero once it has expired.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    fn read(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        let validity = certificate.validity();
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).map_err(|_| IdentityError::Malformed)?;
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(IdentityError::Malformed)
        };
        Ok(Self {
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }
}

/// The agent at the other end of a connection. Whether it has been revoked is for the gateway's store to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub group: GroupId,
    pub agent: AgentId,
    /// Lower-case hex without leading zeros, as [`crate::IssuedCertificate::serial`] has it.
    pub serial: String,
    pub validity: Validity,
}

impl PeerIdentity {
    /// Reads the identity of a connection's peer from what rustls gives as `peer_certificates()`. Call it for every
    /// connection, and again while one lives on.
    pub fn from_chain(chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<Self, IdentityError> {
        let leaf = chain.and_then(<[_]>::first).ok_or(IdentityError::NoCertificate)?;
        Self::from_leaf(leaf, now)
    }

    /// Reads the identity from a leaf that TLS has verified.
    pub fn from_leaf(der: &[u8], now: SystemTime) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let (group, agent) = names(&certificate)?;
        let identity = Self {
            group,
            agent,
            serial: hex_serial(certificate.raw_serial()),
            validity: Validity::read(&certificate)?,
        };
        identity.check(now)?;
        Ok(identity)
    }

    /// Whether the certificate still holds at `now`.
    pub fn check(&self, now: SystemTime) -> Result<(), IdentityError> {
        let Validity { not_before, not_after } = self.validity;
        if let Ok(wait) = not_before.duration_since(now)
            && !wait.is_zero()
        {
            return Err(IdentityError::NotYetValid { agent: self.agent, wait });
        }
        match now.duration_since(not_after) {
            Ok(ago) if !ago.is_zero() => Err(IdentityError::Expired { agent: self.agent, ago }),
            _ => Ok(()),
        }
    }

    /// Refuses an agent of any other group.
    pub fn expect_group(&self, expected: GroupId) -> Result<(), IdentityError> {
        if self.group == expected {
            return Ok(());
        }
        Err(IdentityError::OtherGroup { agent: self.agent, group: self.group, expected })
    }
}

/// The gateway at the other end of a connection. Whether it still is one is for the store that gateways share to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayIdentity {
    pub gateway: GatewayId,
    pub validity: Validity,
}

impl GatewayIdentity {
    /// From what rustls gives as `peer_certificates()`; `None` when the peer is no gateway.
    pub fn from_chain(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let leaf = parse(chain?.first()?).ok()?;
        let gateway = only_name(&leaf).ok()?.strip_prefix(GATEWAY)?.parse().ok()?;
        Some(Self { gateway, validity: Validity::read(&leaf).ok()? })
    }
}

/// Who signed a certificate, as the certificate has it, for people; nobody has checked that. Without control characters.
pub fn issuer_of(der: &[u8]) -> Result<String, IdentityError> {
    let issuer = parse(der)?.issuer().to_string();
    Ok(issuer.chars().filter(|letter| !letter.is_control()).collect())
}

/// The URI by which a certificate names a gateway.
pub fn gateway_uri(gateway: GatewayId) -> String {
    format!("{SCHEME}{GATEWAY}{gateway}")
}

/// The URI by which a certificate names an agent.
pub fn agent_uri(group: GroupId, agent: AgentId) -> String {
    format!("{SCHEME}group/{group}/agent/{agent}")
}

/// Lower-case hex without leading zeros.
pub(crate) fn hex_serial(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.trim_start_matches('0').to_owned()
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::Malformed),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Result<(GroupId, AgentId), IdentityError> {
    agent_of(only_name(certificate)?).ok_or(IdentityError::NotAnAgent)
}

/// What follows [`SCHEME`] in the one URI of ours.
fn only_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let ours: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
            _ => None,
        })
        .collect();
    match ours[..] {
        [path] => Ok(path),
        [] => Err(IdentityError::NotAnAgent),
        _ => Err(IdentityError::Ambiguous { count: ours.len() }),
    }
}

fn agent_of(path: &str) -> Option<(GroupId, AgentId)> {
    let (group, agent) = path.strip_prefix("group/")?.split_once("/agent/")?;
    Some((group.parse().ok()?, agent.parse().ok()?))
}

#[cfg(test)]
mod tests;
