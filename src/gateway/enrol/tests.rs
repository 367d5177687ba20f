use tonic::{Code, Status};
use warren_core::id::{AgentId, GroupId, TokenId};
use warren_identity::{PrivateKey, TokenClaims, TokenKey, leaf::Validity};
use warren_wire::v1::{CreateGroupRequest, CreateTokenRequest, RotateTokensRequest};

use super::*;
use crate::admin::{error::REASON, tests::world::World};

fn reason(status: &Status) -> (Code, &str) {
    (status.code(), status.metadata().get(REASON).map_or("", |reason| reason.to_str().unwrap()))
}

async fn world() -> World {
    let world = World::new().await;
    let asked = CreateGroupRequest { name: "site".into(), ..Default::default() };
    world.admin().groups().create(asked).await.unwrap();
    world
}

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn identity(answer: &EnrolResponse) -> PeerIdentity {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let leaf = CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap();
    PeerIdentity::from_leaf(&leaf, SystemTime::now()).unwrap()
}

#[tokio::test]
async fn a_token_becomes_an_identity_of_its_group_for_a_week() {
    let world = world().await;
    let token = world.token("site", 1).await;
    let answer = world.enrol_with(&token, "Host A.corp", &key()).await.unwrap();
    let identity = identity(&answer);
    assert_eq!((identity.agent.to_string(), identity.group.to_string()), (answer.agent_id, answer.group_id));
    assert_eq!(answer.group_name, "site");
    assert_eq!(answer.bundle, world.context.authority.bundle_pem());
    let left = Duration::from_secs(answer.not_after_s - now_s());
    assert!(left > Duration::from_secs(6 * 86_400) && left <= Duration::from_secs(7 * 86_400), "{left:?}");
    let record = world.context.store.agent(identity.agent).await.unwrap().unwrap();
    assert_eq!((record.name.as_str(), record.serial), ("host-a.corp", identity.serial));
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again() {
    let world = world().await;
    let (token, key) = (world.token("site", 1).await, key());
    let first = world.enrol_with(&token, "a", &key).await.unwrap();
    let again = world.enrol_with(&token, "a", &key).await.unwrap();
    assert_eq!(first.agent_id, again.agent_id);
    let used_up = world.enrol_with(&token, "a", &self::key()).await.unwrap_err();
    assert_eq!(reason(&used_up), (Code::PermissionDenied, "token_used_up"));
}

#[tokio::test]
async fn each_bad_token_has_its_word() {
    let world = world().await;
    let refused = async |token: &str| {
        let status = world.enrol_with(token, "a", &key()).await.unwrap_err();
        let (code, why) = reason(&status);
        (code, why.to_owned())
    };
    assert_eq!(refused("rubbish").await, (Code::InvalidArgument, "token_malformed".into()));
    let claims = |id, group, expires_at| TokenClaims {
        id,
        group,
        customer: None,
        org_only: true,
        issued_at: 1,
        not_before: None,
        expires_at,
        max_uses: None,
        generation: 1,
    };
    let (id, group) = (TokenId::from_random(5), GroupId::from_random(5));
    let forged = TokenKey::generate().unwrap().issue(&claims(id, group, now_s() + 60)).unwrap();
    assert_eq!(refused(&forged).await, (Code::PermissionDenied, "token_bad_signature".into()));
    let expired = world.context.tokens.issue(&claims(id, group, now_s())).unwrap();
    assert_eq!(refused(&expired).await, (Code::PermissionDenied, "token_expired".into()));
    let foreign = world.context.tokens.issue(&claims(id, group, now_s() + 60)).unwrap();
    assert_eq!(refused(&foreign).await, (Code::PermissionDenied, "token_unknown".into()));
    let token = world.token("site", 0).await;
    world.admin().tokens().rotate(RotateTokensRequest { group: "site".into() }).await.unwrap();
    assert_eq!(refused(&token).await, (Code::PermissionDenied, "token_rotated".into()));
    let asked = CreateTokenRequest { group: "site".into(), ..Default::default() };
    let made = world.admin().tokens().create(asked).await.unwrap().into_inner();
    let revoke = warren_wire::v1::RevokeTokenRequest { id: made.info.unwrap().id };
    world.admin().tokens().revoke(revoke).await.unwrap();
    assert_eq!(refused(&made.token).await, (Code::PermissionDenied, "token_revoked".into()));
    let good = world.token("site", 0).await;
    let mut client = world.agent(PeerIdentity {
        group,
        agent: AgentId::from_random(1),
        serial: String::new(),
        validity: Validity { not_before: UNIX_EPOCH, not_after: UNIX_EPOCH },
    });
    let asked = EnrolRequest {
        token: good,
        csr: b"rubbish".to_vec().into(),
        name: "a".into(),
        version: String::new(),
    };
    let status = client.enrol(asked).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "csr_invalid"));
}

#[tokio::test]
async fn renewal_needs_a_certificate_that_still_counts() {
    let world = world().await;
    let token = world.token("site", 0).await;
    let known = identity(&world.enrol_with(&token, "a", &key()).await.unwrap());
    let csr = || RenewRequest { csr: key().csr_der().unwrap().into() };
    let renewed = world.agent(known.clone()).renew(csr()).await.unwrap().into_inner();
    let record = world.context.store.agent(known.agent).await.unwrap().unwrap();
    assert_ne!(record.serial, known.serial);
    assert_eq!(record.not_after_s, renewed.not_after_s);
    let stranger = PeerIdentity { agent: AgentId::from_random(3), ..known.clone() };
    let status = world.agent(stranger).renew(csr()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "unknown_agent"));
    let mut late = known.clone();
    late.validity.not_after = SystemTime::now() - Duration::from_secs(5);
    let status = world.agent(late).renew(csr()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "cert_expired"));
    world.context.store.revoke_agent(known.agent, now_s()).await.unwrap();
    for status in [
        world.agent(known.clone()).renew(csr()).await.unwrap_err(),
        world
            .agent(known)
            .introduce(IntroduceRequest { peer_address: "h:1".into(), has_log: false })
            .await
            .unwrap_err(),
    ] {
        assert_eq!(reason(&status), (Code::PermissionDenied, "revoked"));
    }
}

#[tokio::test]
async fn one_that_leaves_is_revoked_by_its_own_word_and_comes_back_as_another() {
    let world = world().await;
    let (token, own) = (world.token("site", 0).await, key());
    let gone = identity(&world.enrol_with(&token, "a", &own).await.unwrap());
    world.agent(gone.clone()).leave(LeaveRequest {}).await.unwrap();
    let record = world.context.store.agent(gone.agent).await.unwrap().unwrap();
    assert!(record.revoked_s.is_some());
    assert!(world.context.registry.is_revoked(gone.agent), "also of its tunnels, at once");
    let again = world.agent(gone.clone()).leave(LeaveRequest {}).await.unwrap_err();
    assert_eq!(reason(&again), (Code::PermissionDenied, "revoked"));
    let same_key = world.enrol_with(&token, "a", &own).await.unwrap_err();
    assert_eq!(reason(&same_key), (Code::PermissionDenied, "revoked"));
    let other = identity(&world.enrol_with(&token, "a", &key()).await.unwrap());
    assert_ne!(other.agent, gone.agent);
}

#[tokio::test]
async fn one_agent_founds_and_the_others_learn_whom_to_join() {
    let world = world().await;
    let token = world.token("site", 0).await;
    let one = identity(&world.enrol_with(&token, "one", &key()).await.unwrap());
    let two = identity(&world.enrol_with(&token, "two", &key()).await.unwrap());
    let introduce = async |who: &PeerIdentity, address: &str, has_log| {
        let asked = IntroduceRequest { peer_address: address.into(), has_log };
        world.agent(who.clone()).introduce(asked).await.map(Response::into_inner)
    };
    let bad = introduce(&one, "nowhere", false).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let first = introduce(&one, "10.0.0.1:7400", false).await.unwrap();
    assert_eq!((first.found, first.peers.len()), (true, 0));
    let second = introduce(&two, "10.0.0.2:7400", false).await.unwrap();
    assert!(!second.found);
    let expected = Peer { id: one.agent.to_string(), address: "10.0.0.1:7400".into() };
    assert_eq!(second.peers, [expected]);
    assert!(
        introduce(&one, "10.0.0.1:7400", false).await.unwrap().found,
        "a lost answer can be asked for again"
    );
    assert!(!introduce(&one, "10.0.0.1:7400", true).await.unwrap().found);
    assert!(
        !introduce(&one, "10.0.0.1:7400", false).await.unwrap().found,
        "a wiped founder does not found again"
    );
}

#[tokio::test]
async fn a_flood_from_one_address_is_held_back() {
    let world = World::new().await;
    let mut refused = Vec::new();
    for _ in 0..60 {
        let status = world.enrol_with("rubbish", "a", &key()).await.unwrap_err();
        refused.push(reason(&status).1.to_owned());
    }
    assert_eq!(refused[0], "token_malformed");
    assert!(refused.iter().any(|why| why == "rate_limited"));
}
