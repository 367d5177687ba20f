use tonic::{Code, Status};
use warren_identity::PrivateKey;
use warren_wire::v1::{
    CreateCustomerRequest, CreateGroupRequest, CreateResourceRequest, CreateTokenRequest, CreateUserRequest,
    DeleteGroupRequest, DeleteResourceRequest, DeleteUserRequest, GetConfigRequest, GroupStatusRequest,
    Intent, ListAgentsRequest, ListAuditRequest, ListGroupsRequest, ListResourcesRequest, ListTokensRequest,
    ListUsersRequest, RevokeAgentRequest, RevokeTokenRequest, RollbackConfigRequest, RotateTokensRequest,
    SetAgentIntentRequest, SetAgentTierRequest, SetAgentWeightRequest, SetConfigRequest,
    UpdateResourceRequest,
};

use super::error::REASON;
use crate::{revoked::Leavers, testing::until};
use site::Site;
use world::{Client, World};

mod sessions;
pub(crate) mod site;
pub(crate) mod world;

fn reason(status: &Status) -> (Code, &str) {
    (status.code(), status.metadata().get(REASON).map_or("", |reason| reason.to_str().unwrap()))
}

fn create(listen: &str) -> CreateResourceRequest {
    CreateResourceRequest {
        group: "site".into(),
        name: "db".into(),
        target: "db.corp:5432".into(),
        listen: listen.into(),
        ..Default::default()
    }
}

async fn add_group(client: &Client, name: &str, customer: &str) -> String {
    let asked = CreateGroupRequest { name: name.into(), customer: customer.into() };
    client.groups().create(asked).await.unwrap().into_inner().id
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_and_a_role() {
    let world = World::new().await;
    let asked = ListGroupsRequest::default;
    let denied = world.client("").groups().list(asked()).await.unwrap_err();
    assert_eq!(reason(&denied), (Code::Unauthenticated, "no_token"));
    for bad in ["wrn_guess", "guess"] {
        let denied = world.client(bad).groups().list(asked()).await.unwrap_err();
        assert_eq!(reason(&denied), (Code::Unauthenticated, "bad_token"));
    }
    let admin = world.admin();
    let viewer = CreateUserRequest { name: "vera".into(), role: "viewer".into() };
    let made = admin.users().create(viewer).await.unwrap().into_inner();
    let viewer = world.client(&made.token);
    viewer.groups().list(asked()).await.unwrap();
    let denied = viewer.groups().create(CreateGroupRequest::default()).await.unwrap_err();
    assert_eq!(reason(&denied), (Code::PermissionDenied, "permission_denied"));
    assert_eq!(denied.message(), "Groups/Create needs the role admin, `vera` is viewer");
    admin.users().delete(DeleteUserRequest { user: "vera".into() }).await.unwrap();
    let gone = viewer.groups().list(asked()).await.unwrap_err();
    assert_eq!(reason(&gone), (Code::Unauthenticated, "bad_token"));
    let last = admin.users().delete(DeleteUserRequest { user: "admin".into() }).await.unwrap_err();
    assert_eq!(reason(&last), (Code::FailedPrecondition, "last_admin"));
    assert_eq!(admin.users().list(ListUsersRequest {}).await.unwrap().into_inner().users.len(), 1);
}

#[tokio::test]
async fn failures_are_limited_and_lock_nobody_out_who_is_known() {
    let world = World::new().await;
    let asked = ListGroupsRequest::default;
    let admin = world.admin();
    admin.groups().list(asked()).await.unwrap();
    let made = |name: &str| CreateUserRequest { name: name.into(), role: "viewer".into() };
    let viewer = admin.users().create(made("vera")).await.unwrap().into_inner().token;
    let newcomer = admin.users().create(made("nora")).await.unwrap().into_inner().token;
    let viewer = world.client(&viewer);
    for _ in 0..40 {
        let denied = viewer.groups().create(CreateGroupRequest::default()).await.unwrap_err();
        assert_eq!(reason(&denied).1, "permission_denied");
    }
    let audit = admin.audit().list(ListAuditRequest { limit: 100 }).await.unwrap().into_inner().entries;
    let denied = audit.iter().filter(|entry| entry.outcome == "permission denied").count();
    assert!((10..20).contains(&denied), "{denied} entries");
    // The same address: its guesses are not looked up any more, nor is a token that nobody has seen.
    for token in ["wrn_guess", &newcomer] {
        let held = world.client(token).groups().list(asked()).await.unwrap_err();
        assert_eq!(reason(&held), (Code::ResourceExhausted, "rate_limited"));
    }
    for known in [&admin, &viewer] {
        known.groups().list(asked()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_typed_at_length_is_neither_kept_nor_sent_back_whole() {
    let world = World::new().await;
    let admin = world.admin();
    let long = "x".repeat(1 << 20);
    let refused = admin.groups().create(CreateGroupRequest { name: long, ..Default::default() }).await;
    assert!(refused.unwrap_err().message().len() <= 4_096);
    let entry =
        admin.audit().list(ListAuditRequest { limit: 1 }).await.unwrap().into_inner().entries.remove(0);
    assert!(entry.subject.len() <= 1_024 && entry.subject.ends_with("x …"), "{}", entry.subject.len());
    assert!(entry.outcome.len() <= 1_024);
}

#[tokio::test]
async fn every_change_is_in_the_audit_with_its_outcome() {
    let world = World::new().await;
    let admin = world.admin();
    add_group(&admin, "site", "").await;
    admin
        .groups()
        .create(CreateGroupRequest { name: "site".into(), ..Default::default() })
        .await
        .unwrap_err();
    let entries = admin.audit().list(ListAuditRequest { limit: 2 }).await.unwrap().into_inner().entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry.who.as_str(), entry.action.as_str(), entry.subject.as_str(), entry.outcome.as_str())
        })
        .collect();
    let expected = [
        ("admin", "groups.create", "site", "group `site` exists already"),
        ("admin", "groups.create", "site", "ok"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_name_that_fits_two_groups_is_told() {
    let world = World::new().await;
    let admin = world.admin();
    for name in ["acme", "other"] {
        admin.customers().create(CreateCustomerRequest { name: name.into() }).await.unwrap();
        add_group(&admin, "prod", name).await;
    }
    let status = |group: &str| GroupStatusRequest { group: group.into() };
    let ambiguous = admin.groups().status(status("prod")).await.unwrap_err();
    assert_eq!(reason(&ambiguous), (Code::InvalidArgument, "ambiguous_group"));
    assert!(ambiguous.message().contains("acme/prod") && ambiguous.message().contains("other/prod"));
    let one = admin.groups().status(status("acme/prod")).await.unwrap().into_inner();
    assert_eq!(admin.groups().status(status(&one.group_id)).await.unwrap().into_inner(), one);
    assert_eq!(one.state, "Awaiting setup");
    let unknown = admin.groups().status(status("nowhere")).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "unknown_group"));
    let bad = admin.customers().create(CreateCustomerRequest { name: "Acme Inc".into() }).await.unwrap_err();
    assert_eq!(reason(&bad), (Code::InvalidArgument, "invalid"));
}

#[tokio::test]
async fn tokens_are_made_for_their_owner_only_and_end_in_every_way() {
    let world = World::new().await;
    let admin = world.admin();
    admin.customers().create(CreateCustomerRequest { name: "acme".into() }).await.unwrap();
    add_group(&admin, "site", "acme").await;
    let asked = CreateTokenRequest { group: "site".into(), ..Default::default() };
    for wrong in [
        CreateTokenRequest { org_only: true, ..asked.clone() },
        CreateTokenRequest { customer: "other".into(), ..asked.clone() },
    ] {
        let refused = admin.tokens().create(wrong).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, "wrong_customer"));
    }
    let first = admin.tokens().create(CreateTokenRequest { customer: "acme".into(), ..asked.clone() }).await;
    let first = first.unwrap().into_inner().info.unwrap();
    assert_eq!((first.state.as_str(), first.customer.as_str()), ("active", "acme"));
    assert_eq!(first.expires_s - first.created_s, 3_600);
    let rotated = admin.tokens().rotate(RotateTokensRequest { group: "site".into() }).await.unwrap();
    assert_eq!(rotated.into_inner().generation, 2);
    let second = admin.tokens().create(asked).await.unwrap().into_inner().info.unwrap();
    admin.tokens().revoke(RevokeTokenRequest { id: second.id.clone() }).await.unwrap();
    let list =
        admin.tokens().list(ListTokensRequest { group: "site".into() }).await.unwrap().into_inner().tokens;
    let mut states: Vec<_> = list.iter().map(|token| (token.id.as_str(), token.state.as_str())).collect();
    let mut expected = [(first.id.as_str(), "rotated"), (second.id.as_str(), "revoked")];
    states.sort_unstable();
    expected.sort_unstable();
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_resource_lives_from_create_to_delete() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    let made = admin.resources().create(create("127.0.0.1:0")).await.unwrap().into_inner();
    assert_eq!((made.revision, made.policy.as_str(), made.members_up), (1, "p2c", 1));
    let port = made.listen.strip_prefix("127.0.0.1:").unwrap().parse::<u16>().unwrap();
    assert_ne!(port, 0);
    // It is shown at once, and its port is open.
    let list = ListResourcesRequest { group: "site".into() };
    let listed = admin.resources().list(list.clone()).await.unwrap().into_inner().resources;
    assert_eq!(listed, std::slice::from_ref(&made));
    tokio::net::TcpStream::connect(&made.listen).await.unwrap();
    let again = admin.resources().create(create("")).await.unwrap_err();
    assert_eq!(reason(&again), (Code::AlreadyExists, "resource_exists"));
    let update = UpdateResourceRequest {
        group: "site".into(),
        name: "db".into(),
        policy: Some("round-robin".into()),
        ..Default::default()
    };
    let updated = admin.resources().update(update).await.unwrap().into_inner();
    assert_eq!((updated.target, updated.policy, updated.revision), (made.target, "round-robin".into(), 2));
    assert_eq!(updated.listen, made.listen);
    let stale = DeleteResourceRequest { group: "site".into(), name: "db".into(), expected_revision: Some(1) };
    let refused = admin.resources().delete(stale.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "stale"));
    admin.resources().delete(DeleteResourceRequest { expected_revision: Some(2), ..stale }).await.unwrap();
    assert!(admin.resources().list(list).await.unwrap().into_inner().resources.is_empty());
    assert!(world.context.store.listeners().await.unwrap().is_empty());
    assert_eq!(site.authors(), ["admin"; 3]);
}

#[tokio::test]
async fn what_the_group_refuses_leaves_no_port_behind() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    let stale = CreateResourceRequest { expected_revision: Some(7), ..create("") };
    let refused = admin.resources().create(stale).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "stale"));
    site.lose_quorum();
    let failed = admin.resources().create(create("")).await.unwrap_err();
    assert_eq!(reason(&failed), (Code::FailedPrecondition, "no_quorum"));
    assert!(failed.message().contains("quorum"), "{}", failed.message());
    assert!(world.context.store.listeners().await.unwrap().is_empty());
    let name = "db".parse().unwrap();
    assert_eq!(world.context.ingress.address(site.group, &name), None);
    for bad in [
        CreateResourceRequest { target: "db".into(), ..create("") },
        CreateResourceRequest { policy: "best".into(), ..create("") },
        CreateResourceRequest { name: "D B".into(), ..create("") },
    ] {
        let refused = admin.resources().create(bad).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, "invalid"));
    }
    let bad = admin.resources().create(create("nowhere")).await.unwrap_err();
    assert_eq!(reason(&bad), (Code::InvalidArgument, "bad_address"));
}

#[tokio::test]
async fn config_is_set_read_and_rolled_back() {
    let world = World::new().await;
    let admin = world.admin();
    let _site = world.site("site").await;
    let set = |document: &str, expected| SetConfigRequest {
        group: "site".into(),
        document: document.into(),
        expected_revision: expected,
    };
    let two_mistakes = "resources:\n  db: {target: x, policy: y}\n";
    let wrong = admin.config().set(set(two_mistakes, None)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("2 mistakes"), "{}", wrong.message());
    let document = "resources: {db: {target: 'db:1'}}";
    assert_eq!(admin.config().set(set(document, Some(0))).await.unwrap().into_inner().revision, 1);
    let stale = admin.config().set(set("resources: {}", Some(0))).await.unwrap_err();
    assert_eq!(reason(&stale), (Code::Aborted, "stale"));
    assert_eq!(admin.config().set(set("resources: {}", Some(1))).await.unwrap().into_inner().revision, 2);
    let get = |revision| GetConfigRequest { group: "site".into(), revision };
    let first = admin.config().get(get(Some(1))).await.unwrap().into_inner();
    assert!(first.document.contains("db:1"), "{}", first.document);
    let missing = admin.config().get(get(Some(9))).await.unwrap_err();
    assert_eq!(reason(&missing), (Code::NotFound, "unknown_revision"));
    let back = RollbackConfigRequest { group: "site".into(), revision: 1, expected_revision: None };
    assert_eq!(admin.config().rollback(back).await.unwrap().into_inner().revision, 3);
    let current = admin.config().get(get(None)).await.unwrap().into_inner();
    assert_eq!((current.revision, current.document), (3, first.document));
}

#[tokio::test]
async fn status_shows_members_by_what_the_gateway_sees() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    let second = world.enrol("site", "second").await;
    let status = GroupStatusRequest { group: "site".into() };
    let shown = admin.groups().status(status.clone()).await.unwrap().into_inner();
    assert_eq!((shown.leader.as_str(), shown.quorum), (site.agent.to_string().as_str(), true));
    assert_eq!((shown.state.as_str(), shown.why.as_str()), ("At risk", "one_member"));
    let again = admin.groups().status(status.clone()).await.unwrap().into_inner();
    assert!(shown.since_ms > 0 && again.since_ms == shown.since_ms, "a state keeps its time");
    let members: Vec<_> = shown
        .members
        .iter()
        .map(|member| (member.id.clone(), member.status.as_str(), member.role.as_str(), member.tunnels))
        .collect();
    let mut expected = vec![
        (site.agent.to_string(), "Active", "leader", 1),
        (second.to_string(), "Awaiting setup", "none", 0),
    ];
    expected.sort_by_key(|(id, ..)| id.parse::<warren_core::id::AgentId>().unwrap());
    assert_eq!(members, expected);
    assert!(shown.members.iter().all(|member| member.certificate_expires_s > 0));
    let drain =
        SetAgentIntentRequest { agent: "first".into(), intent: Intent::Draining.into(), force: false };
    let refused = admin.agents().set_intent(drain.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "last_healthy_member"));
    admin.agents().set_intent(SetAgentIntentRequest { force: true, ..drain }).await.unwrap();
    let weight = SetAgentWeightRequest { agent: site.agent.to_string(), weight: 7 };
    admin.agents().set_weight(weight.clone()).await.unwrap();
    let bad = admin.agents().set_weight(SetAgentWeightRequest { weight: 1_001, ..weight }).await.unwrap_err();
    assert_eq!(reason(&bad), (Code::InvalidArgument, "weight"));
    let tier = SetAgentTierRequest { agent: site.agent.to_string(), tier: 2 };
    admin.agents().set_tier(tier.clone()).await.unwrap();
    let bad = admin.agents().set_tier(SetAgentTierRequest { tier: 10, ..tier }).await.unwrap_err();
    assert_eq!(reason(&bad), (Code::InvalidArgument, "tier"));
    let agents =
        admin.agents().list(ListAgentsRequest { group: "site".into() }).await.unwrap().into_inner().agents;
    let first = agents.iter().find(|agent| agent.name == "first").unwrap();
    assert_eq!(first.status, "Draining", "seen by the time the call returns");
}

#[tokio::test]
async fn a_store_that_does_not_answer_keeps_no_group_from_being_seen() {
    let world = World::new().await;
    add_group(&world.admin(), "site", "").await;
    let token = world.token("site", 1).await;
    let enrolled = world.enrol_with(&token, "first", &PrivateKey::generate().unwrap()).await.unwrap();
    let _locked = world.lock_store().await;
    let begun = std::time::Instant::now();
    let site = Site::start(&world, &enrolled).await;
    site.lose_quorum();
    let seen = || world.context.registry.group(site.group).and_then(|group| group.view.clone());
    until("the next word is heard", || seen().is_some_and(|view| !view.quorum)).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_about_agents_that_are_elsewhere_is_answered_there() {
    let there = World::new().await;
    let here = there.beside().await;
    let site = there.site("site").await;
    let admin = here.admin();
    let status = || GroupStatusRequest { group: "site".into() };
    let told = admin.groups().status(status()).await.unwrap().into_inner();
    assert_eq!((told.members.len(), told.members[0].tunnels), (1, 1));
    let groups = admin.groups().list(ListGroupsRequest::default()).await.unwrap().into_inner().groups;
    assert_eq!(groups[0].state, "At risk", "lists of all groups know it, too");
    let agents = admin.agents().list(ListAgentsRequest::default()).await.unwrap().into_inner().agents;
    assert_eq!((agents[0].status.as_str(), agents[0].tunnels), ("Active", 1));
    let made = admin.resources().create(create("127.0.0.1:0")).await.unwrap().into_inner();
    assert!(there.context.ingress.address(site.group, &made.name.parse().unwrap()).is_some());
    let weight = SetAgentWeightRequest { agent: "first".into(), weight: 7 };
    admin.agents().set_weight(weight).await.unwrap();
    assert_eq!(site.authors().last().map(String::as_str), Some("admin"), "in the name of who asked");
    let drain = SetAgentIntentRequest {
        agent: site.agent.to_string(),
        intent: Intent::Draining.into(),
        force: false,
    };
    let refused = admin.agents().set_intent(drain).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "last_healthy_member"), "refusals come back");
    let viewer = CreateUserRequest { name: "vera".into(), role: "viewer".into() };
    let made = admin.users().create(viewer).await.unwrap().into_inner();
    let denied = here.client(&made.token).resources().create(create("")).await.unwrap_err();
    assert_eq!(reason(&denied), (Code::PermissionDenied, "permission_denied"));

    // Once nobody has a member it is said so, and what is known here is told.
    site.stop().await;
    until("its tunnel is gone", || !there.context.registry.has_tunnels(site.group)).await;
    let config = GetConfigRequest { group: "site".into(), revision: None };
    let nobody = admin.config().get(config).await.unwrap_err();
    assert_eq!(reason(&nobody), (Code::Unavailable, "no_member"));
    assert!(nobody.message().contains("or to another one"), "{}", nobody.message());
    let told = admin.groups().status(status()).await.unwrap().into_inner();
    assert_eq!((told.state.as_str(), told.members[0].tunnels), ("Down", 0));
}

#[tokio::test]
async fn a_revoked_agent_is_cut_at_once_and_stays_out() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    site.lose_quorum();
    let revoke = RevokeAgentRequest { agent: site.agent.to_string() };
    let revoked = admin.agents().revoke(revoke).await.unwrap().into_inner();
    assert_ne!(revoked.membership_pending, "", "the group could not be asked");
    site.closed().await;
    let (code, why) = world
        .renew(&site)
        .await
        .map_err(|status| {
            let (code, why) = reason(&status);
            (code, why.to_owned())
        })
        .unwrap_err();
    assert_eq!((code, why.as_str()), (Code::PermissionDenied, "revoked"));
    let agents = admin.agents().list(ListAgentsRequest::default()).await.unwrap().into_inner().agents;
    assert_eq!(agents[0].status, "Revoked");
}

#[tokio::test]
async fn a_revoked_member_leaves_its_group_once_that_can_decide() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    let second = world.enrol("site", "second").await;
    site.join(second);
    let registry = world.context.registry.clone();
    let view = || registry.group(site.group).unwrap().view.clone().unwrap();
    until("the gateway sees it", || view().members.contains_key(&second)).await;
    site.lose_quorum();
    until("the gateway sees the loss", || !view().quorum).await;
    let revoke = RevokeAgentRequest { agent: second.to_string() };
    assert_ne!(admin.agents().revoke(revoke).await.unwrap().into_inner().membership_pending, "");
    let mut leavers = Leavers::new(registry.clone(), world.context.store.clone());
    let now = std::time::Instant::now();
    leavers.look(now).await;
    assert!(view().members.contains_key(&second), "nobody is asked who cannot decide");
    site.regain_quorum();
    until("the gateway sees the quorum", || view().quorum).await;
    leavers.look(now).await;
    until("it is gone", || !view().members.contains_key(&second)).await;
    assert_eq!(site.authors(), ["gateway"]);
    let entry =
        admin.audit().list(ListAuditRequest { limit: 1 }).await.unwrap().into_inner().entries.remove(0);
    assert_eq!((entry.who.as_str(), entry.action.as_str()), ("gateway", "agents.remove"));
    leavers.look(now).await;
    assert_eq!(site.authors().len(), 1);
}

#[tokio::test]
async fn a_group_with_agents_is_deleted_by_force_only_and_takes_everything_along() {
    let world = World::new().await;
    let admin = world.admin();
    let site = world.site("site").await;
    let listen = admin.resources().create(create("")).await.unwrap().into_inner().listen;
    let delete = |force| DeleteGroupRequest { group: "site".into(), force };
    let refused = admin.groups().delete(delete(false)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "group_has_agents"));
    admin.groups().delete(delete(true)).await.unwrap();
    site.closed().await;
    assert!(admin.groups().list(ListGroupsRequest::default()).await.unwrap().into_inner().groups.is_empty());
    assert!(world.context.store.listeners().await.unwrap().is_empty());
    let waited = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while tokio::net::TcpStream::connect(&listen).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("the port is closed");
    add_group(&admin, "site", "").await;
}
