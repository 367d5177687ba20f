//! The making of leaves.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, ServerName};
use warren_core::id::{AgentId, GatewayId, GroupId};

use super::{AgentRequest, Authority, AuthorityError, SKEW};
use crate::{
    leaf::{self, Validity},
    random::random,
};

const AGENT_DOMAIN: &str = "agent.warren.internal";
const GATEWAY_DOMAIN: &str = "gateway.warren.internal";
const LIFETIME_MIN: Duration = Duration::from_secs(60);

/// A certificate that was just issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    pub pem: String,
    pub der: CertificateDer<'static>,
    /// Lower-case hex; random, 127 bits at most.
    pub serial: String,
    pub validity: Validity,
}

/// The DNS name in an agent's certificate. It is never resolved: peers ask TLS for it, so that a connection that
/// reached another member than the one meant fails.
pub fn agent_dns_name(agent: AgentId) -> String {
    format!("{agent}.{AGENT_DOMAIN}")
}

/// [`agent_dns_name`] as rustls takes it.
pub fn agent_server_name(agent: AgentId) -> ServerName<'static> {
    ServerName::try_from(agent_dns_name(agent)).expect("ids are letters, digits and one dash")
}

/// The DNS name of a gateway's own in its certificate, never resolved either: gateways that share a store ask TLS for it,
/// by whatever address they reach each other.
pub fn gateway_dns_name(gateway: GatewayId) -> String {
    format!("{gateway}.{GATEWAY_DOMAIN}")
}

/// [`gateway_dns_name`] as rustls takes it.
pub fn gateway_server_name(gateway: GatewayId) -> ServerName<'static> {
    ServerName::try_from(gateway_dns_name(gateway)).expect("ids are letters, digits and one dash")
}

pub(super) fn agent(
    authority: &Authority,
    request: &AgentRequest,
    group: GroupId,
    agent: AgentId,
    now: SystemTime,
    lifetime: Duration,
) -> Result<IssuedCertificate, AuthorityError> {
    let names = vec![uri(leaf::agent_uri(group, agent))?, dns(agent_dns_name(agent))?];
    let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let params = params(&agent.to_string(), names, usages);
    sign(authority, params, &request.public_key, now, lifetime)
}

pub(super) fn gateway(
    authority: &Authority,
    key: &impl PublicKeyData,
    gateway: GatewayId,
    names: &[String],
    now: SystemTime,
    lifetime: Duration,
) -> Result<IssuedCertificate, AuthorityError> {
    if names.is_empty() {
        return Err(AuthorityError::NoName);
    }
    let mut all = vec![uri(leaf::gateway_uri(gateway))?, dns(gateway_dns_name(gateway))?];
    for name in names {
        all.push(gateway_name(name)?);
    }
    let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let params = params(&gateway.to_string(), all, usages);
    sign(authority, params, key, now, lifetime)
}

/// 127 random bits with the highest one set: always positive and always 32 digits.
pub(super) fn new_serial() -> SerialNumber {
    let mut bytes = random::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

fn params(common_name: &str, names: Vec<SanType>, usages: Vec<ExtendedKeyUsagePurpose>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    params
}

fn sign(
    authority: &Authority,
    mut params: CertificateParams,
    key: &impl PublicKeyData,
    now: SystemTime,
    lifetime: Duration,
) -> Result<IssuedCertificate, AuthorityError> {
    if lifetime < LIFETIME_MIN {
        return Err(AuthorityError::Lifetime);
    }
    let root_ends = authority.validity.not_after;
    if now >= root_ends {
        return Err(AuthorityError::Expired);
    }
    let not_after = now.checked_add(lifetime).map_or(root_ends, |end| end.min(root_ends));
    let validity = Validity { not_before: whole_seconds(now - SKEW), not_after: whole_seconds(not_after) };
    let serial = new_serial();
    let shown = leaf::hex_serial(serial.as_ref());
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.serial_number = Some(serial);

    let failed = |source| AuthorityError::Sign { source };
    let issuer = Issuer::from_ca_cert_der(&authority.certificate, authority.key.pair()).map_err(failed)?;
    let der: CertificateDer<'static> = params.signed_by(key, &issuer).map_err(failed)?.into();
    Ok(IssuedCertificate { pem: pem("CERTIFICATE", &der), der, serial: shown, validity })
}

/// Certificates know no fractions of a second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn gateway_name(name: &str) -> Result<SanType, AuthorityError> {
    let refused = |why| AuthorityError::Name { name: name.to_owned(), why };
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let lower = name.to_ascii_lowercase();
    let fixed = lower.strip_prefix("*.").unwrap_or(&lower);
    if !matches!(ServerName::try_from(fixed), Ok(ServerName::DnsName(_))) || fixed.ends_with('.') {
        return Err(refused("it is neither a DNS name nor an IP address"));
    }
    // Else a gateway could be taken for a member by its peers, or for another gateway.
    let within = |domain: &str| fixed == domain || fixed.ends_with(&format!(".{domain}"));
    if within(AGENT_DOMAIN) {
        return Err(refused("names of agents are kept for agents"));
    }
    if within(GATEWAY_DOMAIN) {
        return Err(refused("names of gateways among each other are given by their ids"));
    }
    dns(lower)
}

fn dns(name: String) -> Result<SanType, AuthorityError> {
    let ia5 = name.as_str().try_into();
    Ok(SanType::DnsName(ia5.map_err(|_| AuthorityError::Name { name, why: "it is not plain ASCII" })?))
}

fn uri(name: String) -> Result<SanType, AuthorityError> {
    let ia5 = name.as_str().try_into();
    Ok(SanType::URI(ia5.map_err(|_| AuthorityError::Name { name, why: "it is not plain ASCII" })?))
}
