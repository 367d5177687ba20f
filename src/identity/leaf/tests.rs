use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;
use crate::{
    PrivateKey,
    authority::{AgentRequest, Authority},
};

const HOUR: Duration = Duration::from_secs(3600);

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn group() -> GroupId {
    GroupId::from_random(11)
}

fn agent() -> AgentId {
    AgentId::from_random(22)
}

/// A leaf that says whatever a test wants it to; its signature does not matter here.
fn leaf_with(uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap())).collect();
    params.subject_alt_names.push(SanType::DnsName("x.example".try_into().unwrap()));
    params.not_before = (noon() - HOUR).into();
    params.not_after = (noon() + HOUR).into();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
}

fn ours() -> CertificateDer<'static> {
    leaf_with(&[&agent_uri(group(), agent())])
}

#[test]
fn an_issued_leaf_says_who_it_is() {
    let authority = Authority::generate(noon()).unwrap();
    let request = AgentRequest::parse(&PrivateKey::generate().unwrap().csr_der().unwrap()).unwrap();
    let issued = authority.issue_agent(&request, group(), agent(), noon(), HOUR).unwrap();
    let identity = PeerIdentity::from_leaf(&issued.der, noon()).unwrap();
    assert_eq!((identity.group, identity.agent), (group(), agent()));
    assert_eq!(identity.serial, issued.serial);
    assert_eq!(identity.validity, issued.validity);
    assert_eq!(identity.validity.not_after, noon() + HOUR);
    assert_eq!(identity.validity.remaining(noon()), HOUR);
    assert_eq!(identity.validity.remaining(noon() + 2 * HOUR), Duration::ZERO);
    let renew = identity.validity.renew_at();
    assert!(noon() < renew && renew < noon() + HOUR, "renewal lies inside its life");
}

#[test]
fn expiry_is_judged_at_the_time_given() {
    let leaf = ours();
    let ends = noon() + HOUR;
    assert!(PeerIdentity::from_leaf(&leaf, ends).is_ok());
    let error = PeerIdentity::from_leaf(&leaf, ends + Duration::from_secs(5)).unwrap_err();
    assert_eq!(error, IdentityError::Expired { agent: agent(), ago: Duration::from_secs(5) });
    assert_eq!(error.reason(), "cert_expired");
    let error = PeerIdentity::from_leaf(&leaf, noon() - 2 * HOUR).unwrap_err();
    assert_eq!(error, IdentityError::NotYetValid { agent: agent(), wait: HOUR });

    let live = PeerIdentity::from_leaf(&leaf, noon()).unwrap();
    assert!(matches!(live.check(noon() + 2 * HOUR), Err(IdentityError::Expired { .. })));
}

#[test]
fn only_the_leaf_counts_whatever_else_the_peer_sends() {
    let other = leaf_with(&[&agent_uri(GroupId::from_random(99), AgentId::from_random(98))]);
    let identity = PeerIdentity::from_chain(Some(&[ours(), other]), noon()).unwrap();
    assert_eq!(identity.agent, agent());
    let nobody = leaf_with(&[]);
    assert_eq!(
        PeerIdentity::from_chain(Some(&[nobody, ours()]), noon()),
        Err(IdentityError::NotAnAgent),
        "a filler's identity is nobody's"
    );
}

#[test]
fn a_leaf_that_is_not_exactly_one_agent_is_refused() {
    let uri = agent_uri(group(), agent());
    let twin = agent_uri(GroupId::from_random(1), agent());
    assert_eq!(
        PeerIdentity::from_leaf(&leaf_with(&[&uri, &twin]), noon()),
        Err(IdentityError::Ambiguous { count: 2 })
    );
    assert_eq!(
        PeerIdentity::from_leaf(&leaf_with(&[&uri, "warren://gateway/gwy-0000000001"]), noon()),
        Err(IdentityError::Ambiguous { count: 2 })
    );
    // URIs of others are none of our business.
    assert!(PeerIdentity::from_leaf(&leaf_with(&["spiffe://x/y", &uri]), noon()).is_ok());

    for odd in [
        "spiffe://x/y".to_owned(),
        "warren://gateway/gwy-0000000001".to_owned(),
        format!("{uri}/more"),
        format!("{uri}?x=y"),
        uri.to_uppercase(),
        uri.replace("grp-", "agt-"),
        uri.replace("/agent/", "/agents/"),
        "warren://group//agent/".to_owned(),
    ] {
        let error = PeerIdentity::from_leaf(&leaf_with(&[&odd]), noon()).unwrap_err();
        assert_eq!(error, IdentityError::NotAnAgent, "{odd}");
    }
}

#[test]
fn no_certificate_and_garbage_have_their_own_answers() {
    assert_eq!(PeerIdentity::from_chain(None, noon()), Err(IdentityError::NoCertificate));
    assert_eq!(PeerIdentity::from_chain(Some(&[]), noon()), Err(IdentityError::NoCertificate));
    assert_eq!(PeerIdentity::from_leaf(b"garbage", noon()), Err(IdentityError::Malformed));
    let mut trailing = ours().to_vec();
    trailing.push(0);
    assert_eq!(PeerIdentity::from_leaf(&trailing, noon()), Err(IdentityError::Malformed));
    let whole = ours();
    for cut in 0..whole.len() {
        assert_eq!(PeerIdentity::from_leaf(&whole[..cut], noon()), Err(IdentityError::Malformed));
    }
}

#[test]
fn a_gateway_is_told_from_an_agent_and_from_nobody() {
    let gateway = GatewayId::from_random(3);
    let of_chain =
        |chain: Option<&[CertificateDer<'_>]>| GatewayIdentity::from_chain(chain).map(|found| found.gateway);
    let of = |uris: &[&str]| of_chain(Some(&[leaf_with(uris)]));
    assert_eq!(of(&[&gateway_uri(gateway)]), Some(gateway));
    let agent = agent_uri(group(), agent());
    assert_eq!(of(&[&agent]), None);
    assert_eq!(of(&[&gateway_uri(gateway), &agent]), None, "two identities are none");
    assert_eq!(of(&[&format!("{}/more", gateway_uri(gateway))]), None);
    assert_eq!(of(&[]), None);
    assert_eq!(of_chain(Some(&[leaf_with(&[]), leaf_with(&[&gateway_uri(gateway)])])), None);
    assert_eq!((of_chain(Some(&[])), of_chain(None)), (None, None));
}

#[test]
fn a_certificate_holds_from_its_first_to_its_last_second() {
    let validity = Validity { not_before: noon(), not_after: noon() + Duration::from_secs(60) };
    let at = |seconds: i64| {
        let off = Duration::from_secs(seconds.unsigned_abs());
        validity.holds(if seconds < 0 { noon() - off } else { noon() + off })
    };
    assert_eq!([-1, 0, 60, 61].map(at), [false, true, true, false]);
}

#[test]
fn another_group_is_refused() {
    let identity = PeerIdentity::from_leaf(&ours(), noon()).unwrap();
    assert!(identity.expect_group(group()).is_ok());
    let error = identity.expect_group(GroupId::from_random(5)).unwrap_err();
    assert_eq!(error.reason(), "other_group");
}
