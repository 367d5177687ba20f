use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType};
use std::time::UNIX_EPOCH;
use x509_parser::prelude::{GeneralName, ParsedExtension};

use super::*;
use crate::leaf::PeerIdentity;

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn operator(letter: char) -> OperatorKey {
    OperatorKey::from_text(&letter.to_string().repeat(40)).unwrap()
}

fn request() -> AgentRequest {
    AgentRequest::parse(PrivateKey::generate().unwrap().csr_pem().unwrap().as_bytes()).unwrap()
}

fn issue(authority: &Authority, lifetime: Duration) -> Result<IssuedCertificate, AuthorityError> {
    let (group, agent) = (GroupId::from_random(1), AgentId::from_random(2));
    authority.issue_agent(&request(), group, agent, noon(), lifetime)
}

fn gateway(authority: &Authority, names: &[&str]) -> Result<IssuedCertificate, AuthorityError> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let issued = authority.issue_gateway(GatewayId::from_random(3), &names, noon(), GATEWAY_LIFETIME);
    issued.map(|(certificate, _)| certificate)
}

fn names_of(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::URI(text) | GeneralName::DNSName(text) => (*text).to_owned(),
            GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
            other => panic!("unexpected {other}"),
        })
        .collect()
}

#[test]
fn a_stored_authority_comes_back_and_goes_on_issuing() {
    let made = Authority::generate(noon()).unwrap();
    let stored = made.export(&operator('a')).unwrap();
    assert!(!stored.sealed_key.contains("PRIVATE"));
    let read = Authority::import(&stored, &operator('a')).unwrap();
    assert_eq!(read.bundle_pem(), made.bundle_pem());
    let issued = issue(&read, AGENT_LIFETIME).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.der).unwrap();
    let (_, root) = X509Certificate::from_der(&made.certificate).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert!(format!("{read:?}").starts_with("Authority { validity"), "{read:?}");
}

#[test]
fn an_authority_opens_under_its_operator_key_and_fits_its_own_certificate_only() {
    let stored = Authority::generate(noon()).unwrap().export(&operator('a')).unwrap();
    let error = Authority::import(&stored, &operator('b')).unwrap_err();
    assert!(matches!(error, AuthorityError::Seal(SealError::WrongKey { .. })), "{error}");

    let certificate_pem = Authority::generate(noon()).unwrap().certificate_pem();
    let crossed = SealedAuthority { certificate_pem, ..stored.clone() };
    assert!(matches!(Authority::import(&crossed, &operator('a')), Err(AuthorityError::Mismatch)));

    let broken = SealedAuthority { certificate_pem: "hello".to_owned(), ..stored };
    assert!(matches!(Authority::import(&broken, &operator('a')), Err(AuthorityError::Root)));
}

#[test]
fn names_are_ours_whatever_the_request_asks_for() {
    let pair = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::default();
    greedy.subject_alt_names = vec![
        SanType::URI("warren://group/grp-0000000009/agent/agt-0000000009".try_into().unwrap()),
        SanType::DnsName("gateway.example".try_into().unwrap()),
    ];
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let csr = greedy.serialize_request(&pair).unwrap();
    let authority = Authority::generate(noon()).unwrap();
    let (group, agent) = (GroupId::from_random(1), AgentId::from_random(2));
    let request = AgentRequest::parse(csr.der()).unwrap();
    let issued = authority.issue_agent(&request, group, agent, noon(), AGENT_LIFETIME).unwrap();

    assert_eq!(
        names_of(&issued.der),
        ["warren://group/grp-0000000001/agent/agt-0000000002", "agt-0000000002.agent.warren.internal"]
    );
    let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
    assert!(!certificate.is_ca());
    assert_eq!(certificate.public_key().subject_public_key.data.as_ref(), pair.public_key_raw());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any);
    assert!(!certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert_eq!(issued.validity.not_before, noon() - SKEW);
    assert_eq!(issued.validity.not_after, noon() + AGENT_LIFETIME);
}

#[test]
fn serials_are_random_and_long() {
    let authority = Authority::generate(noon()).unwrap();
    let (one, other) =
        (issue(&authority, AGENT_LIFETIME).unwrap(), issue(&authority, AGENT_LIFETIME).unwrap());
    assert_ne!(one.serial, other.serial);
    assert_eq!(one.serial.len(), 32);
    assert_eq!(PeerIdentity::from_leaf(&one.der, noon()).unwrap().serial, one.serial);
}

#[test]
fn bad_requests_are_refused() {
    let good = PrivateKey::generate().unwrap().csr_der().unwrap();
    let mut forged = good.clone();
    // A byte of the public key: the signature no longer fits.
    let at = good.len() - 90;
    forged[at] ^= 1;
    assert!(matches!(AgentRequest::parse(&forged), Err(AuthorityError::Request { .. })));
    assert!(matches!(AgentRequest::parse(b""), Err(AuthorityError::Request { .. })));
    assert!(matches!(AgentRequest::parse(b"-----BEGIN x"), Err(AuthorityError::Request { .. })));
    let large = vec![b'x'; REQUEST_BYTES_MAX + 1];
    assert!(matches!(AgentRequest::parse(&large), Err(AuthorityError::RequestTooLarge)));
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default().serialize_request(&pair).unwrap();
        assert!(matches!(AgentRequest::parse(csr.der()), Err(AuthorityError::RequestKey)));
    }
    for cut in 0..good.len() {
        assert!(AgentRequest::parse(&good[..cut]).is_err());
    }
}

#[test]
fn a_leaf_never_outlives_its_root() {
    let authority = Authority::generate(noon()).unwrap();
    let issued = issue(&authority, ROOT_LIFETIME * 2).unwrap();
    assert_eq!(issued.validity.not_after, authority.validity().not_after);
    assert!(matches!(issue(&authority, Duration::from_secs(59)), Err(AuthorityError::Lifetime)));
    let late = noon() + ROOT_LIFETIME;
    let (group, agent) = (GroupId::from_random(1), AgentId::from_random(2));
    let refused = authority.issue_agent(&request(), group, agent, late, AGENT_LIFETIME);
    assert!(matches!(refused, Err(AuthorityError::Expired)));
}

#[test]
fn a_gateway_gets_its_names_and_may_call_others() {
    let authority = Authority::generate(noon()).unwrap();
    let issued =
        gateway(&authority, &["GW.example", "*.gw.example", "127.0.0.1", "::1", "localhost"]).unwrap();
    assert_eq!(
        names_of(&issued.der)[..5],
        [
            "warren://gateway/gwy-0000000003",
            "gwy-0000000003.gateway.warren.internal",
            "gw.example",
            "*.gw.example",
            "[127, 0, 0, 1]"
        ]
    );
    let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(matches!(gateway(&authority, &[]), Err(AuthorityError::NoName)));
    for odd in ["", "a b", "exa*mple", "*.*.example", "https://gw", "gw.example.", "ü.example"] {
        assert!(matches!(gateway(&authority, &[odd]), Err(AuthorityError::Name { .. })), "{odd}");
    }
}

#[test]
fn a_gateway_cannot_be_named_like_an_agent_or_another_gateway() {
    let authority = Authority::generate(noon()).unwrap();
    let agent = agent_dns_name(AgentId::from_random(2));
    let other = gateway_dns_name(GatewayId::from_random(9));
    for name in
        [&*agent, "*.agent.warren.internal", "AGENT.warren.internal", &*other, "*.gateway.warren.internal"]
    {
        assert!(matches!(gateway(&authority, &[name]), Err(AuthorityError::Name { .. })), "{name}");
    }
}

#[test]
fn two_roots_are_trusted_while_rotating_and_no_more() {
    let old = Authority::generate(noon()).unwrap();
    let mut new = Authority::generate(noon()).unwrap();
    new.also_trust(&old.certificate_pem()).unwrap();
    new.also_trust(&old.certificate_pem()).unwrap();
    new.also_trust(&new.certificate_pem()).unwrap();
    assert_eq!(new.bundle_pem(), new.certificate_pem() + &old.certificate_pem());
    let third = Authority::generate(noon()).unwrap();
    assert!(matches!(new.also_trust(&third.certificate_pem()), Err(AuthorityError::TooManyRoots)));
    let leaf = issue(&old, AGENT_LIFETIME).unwrap();
    assert!(matches!(new.also_trust(&leaf.pem), Err(AuthorityError::Root)));
}

#[test]
fn a_root_signs_leaves_only() {
    let authority = Authority::generate(noon()).unwrap();
    let (_, root) = X509Certificate::from_der(&authority.certificate).unwrap();
    let constraints = root.basic_constraints().unwrap().unwrap().value;
    assert!(constraints.ca && constraints.path_len_constraint == Some(0));
    assert!(root.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_))
    }));
    assert_eq!(authority.validity().not_after, noon() + ROOT_LIFETIME);
}
