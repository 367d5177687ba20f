//! What every store must do: asked of the trait, on SQLite and on a real PostgreSQL server.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use warren_cluster_tests::Postgres;

use super::*;
use crate::config::StoreLocation;

mod away;
mod tls;
mod whole;

const NOW: u64 = 1_800_000_000;

/// An empty store, and what it stands on.
struct Opened {
    store: Arc<dyn Store>,
    location: StoreLocation,
    _ground: Ground,
}

enum Ground {
    Folder { _kept: tempfile::TempDir },
    Server { _kept: Arc<Postgres> },
}

impl Opened {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::Sqlite(folder.path().join("t.db"));
        Self::at(location, Ground::Folder { _kept: folder }).await
    }

    /// `None` where PostgreSQL is not installed.
    async fn postgres() -> Option<Self> {
        let server = shared_server()?;
        let location = database(&server);
        Some(Self::at(location, Ground::Server { _kept: server }).await)
    }

    async fn at(location: StoreLocation, ground: Ground) -> Self {
        let store = Arc::new(SqlStore::open(&location).await.unwrap());
        Self { store, location, _ground: ground }
    }
}

/// One server for all tests that run at a time; `None` where PostgreSQL is not installed.
fn shared_server() -> Option<Arc<Postgres>> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Postgres::start(&[])?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// A new database that nobody else has.
fn database(server: &Postgres) -> StoreLocation {
    static MADE: AtomicU32 = AtomicU32::new(0);
    server.database(&format!("t{}", MADE.fetch_add(1, Relaxed))).parse().unwrap()
}

/// Each test runs on both; one that stands not here is told by the compiler.
macro_rules! on_each_store {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Opened::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                if let Some(opened) = super::Opened::postgres().await {
                    super::$test(opened).await;
                }
            })+
        }
    };
}

on_each_store![
    a_setting_keeps_its_first_value,
    names_are_unique_where_they_must_be_and_free_again_after_deletion,
    a_token_is_used_as_often_as_it_may_and_no_more_even_all_at_once,
    the_same_key_is_the_same_agent_whichever_token_it_comes_with,
    every_reason_against_a_token_is_told_apart,
    exactly_one_agent_founds_a_group,
    revocation_is_for_good_and_in_order,
    listeners_keep_their_address_across_a_restart,
    the_last_admin_stays,
    audit_is_told_newest_first,
    what_gateways_keep_in_memory_is_news,
    gateways_that_serve_are_listed_and_those_that_stopped_are_not,
];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

async fn customer(store: &dyn Store, number: u64, text: &str) -> CustomerRecord {
    let customer = CustomerRecord { id: CustomerId::from_random(number), name: name(text), created_s: NOW };
    store.create_customer(&customer).await.unwrap();
    customer
}

fn a_group(number: u64, text: &str, customer: Option<&CustomerRecord>) -> GroupRecord {
    let customer = customer.map(|customer| CustomerRef { id: customer.id, name: customer.name.clone() });
    GroupRecord {
        id: GroupId::from_random(number),
        name: name(text),
        customer,
        created_s: NOW,
        generation: 1,
    }
}

async fn group(store: &dyn Store, number: u64) -> GroupRecord {
    let group = a_group(number, &format!("site{number}"), None);
    store.create_group(&group).await.unwrap();
    group
}

async fn token(store: &dyn Store, number: u64, group: &GroupRecord, max_uses: Option<u32>) -> TokenId {
    let token = TokenRecord {
        id: TokenId::from_random(number),
        group: group.id,
        customer: None,
        created_s: NOW,
        expires_s: NOW + 60,
        max_uses,
        uses: 0,
        generation: group.generation,
        revoked_s: None,
    };
    store.create_token(&token).await.unwrap();
    token.id
}

fn newcomer(number: u8, group: &GroupRecord) -> NewAgent {
    NewAgent {
        id: AgentId::from_random(number.into()),
        group: group.id,
        name: name("host"),
        version: "1".into(),
        key_hash: [number; 32],
    }
}

fn user(number: u8, role: UserRole) -> UserRecord {
    UserRecord {
        id: UserId::from_random(number.into()),
        name: name(&format!("u{number}")),
        role,
        created_s: NOW,
        token_hash: [number; 32],
    }
}

fn entry(at_ms: u64) -> AuditRecord {
    let text = |text: &str| text.to_owned();
    let (who, action) = (text("ann"), text("groups.create"));
    AuditRecord { at_ms, who, action, subject: text("site"), outcome: text("ok") }
}

async fn enrolled(store: &dyn Store, number: u8, group: &GroupRecord, by: TokenId) -> AgentId {
    store.enrol(&newcomer(number, group), by, NOW).await.unwrap().unwrap().agent
}

async fn a_setting_keeps_its_first_value(opened: Opened) {
    let store = &opened.store;
    assert_eq!(store.setting("k").await.unwrap(), None);
    assert_eq!(store.settle("k", "one").await.unwrap(), "one");
    assert_eq!(store.settle("k", "two").await.unwrap(), "one");
    assert_eq!(store.setting("k").await.unwrap().as_deref(), Some("one"));
}

async fn names_are_unique_where_they_must_be_and_free_again_after_deletion(opened: Opened) {
    let store = &opened.store;
    let (acme, other) = (customer(&**store, 1, "acme").await, customer(&**store, 2, "other").await);
    store.create_group(&a_group(1, "prod", Some(&acme))).await.unwrap();
    store.create_group(&a_group(2, "prod", Some(&other))).await.unwrap();
    store.create_group(&a_group(3, "prod", None)).await.unwrap();
    for taken in [a_group(4, "prod", Some(&acme)), a_group(5, "prod", None)] {
        assert!(matches!(store.create_group(&taken).await, Err(StoreError::Taken { .. })));
    }
    let labels: Vec<_> = store.groups().await.unwrap().iter().map(GroupRecord::label).collect();
    assert_eq!(labels, ["prod", "acme/prod", "other/prod"]);
    assert!(matches!(store.delete_customer(acme.id, NOW).await, Err(StoreError::CustomerInUse { .. })));
    store.delete_group(GroupId::from_random(1), NOW).await.unwrap();
    store.delete_customer(acme.id, NOW).await.unwrap();
    assert!(matches!(store.delete_customer(acme.id, NOW).await, Err(StoreError::Unknown { .. })));
    let orphan = a_group(6, "prod", Some(&acme));
    assert!(matches!(store.create_group(&orphan).await, Err(StoreError::Unknown { .. })));
    customer(&**store, 3, "acme").await;
    let names: Vec<_> = store.customers().await.unwrap().into_iter().map(|customer| customer.name).collect();
    assert_eq!(names, [name("acme"), name("other")]);
    assert_eq!(store.customer(acme.id).await.unwrap(), None);
}

async fn a_token_is_used_as_often_as_it_may_and_no_more_even_all_at_once(opened: Opened) {
    let store = &opened.store;
    let site = group(&**store, 1).await;
    let by = token(&**store, 1, &site, Some(3)).await;
    let tries = (1..=12_u8).map(|number| {
        let (store, agent) = (store.clone(), newcomer(number, &site));
        tokio::spawn(async move { store.enrol(&agent, by, NOW).await.unwrap() })
    });
    let mut let_in = 0;
    for attempt in tries.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(_) => let_in += 1,
            Err(refusal) => assert_eq!(refusal, EnrolRefusal::UsedUp),
        }
    }
    assert_eq!(let_in, 3);
    assert_eq!(store.agents(Some(site.id)).await.unwrap().len(), 3);
    assert_eq!(store.token(by).await.unwrap().unwrap().uses, 3);
}

async fn the_same_key_is_the_same_agent_whichever_token_it_comes_with(opened: Opened) {
    let store = &opened.store;
    let site = group(&**store, 1).await;
    let by = token(&**store, 1, &site, Some(1)).await;
    let first = enrolled(&**store, 1, &site, by).await;
    let again = NewAgent { id: AgentId::from_random(99), ..newcomer(1, &site) };
    let repeated = store.enrol(&again, by, NOW).await.unwrap().unwrap();
    assert_eq!((repeated.agent, repeated.again), (first, true));
    assert_eq!(store.token(by).await.unwrap().unwrap().uses, 1);
    let fresh = token(&**store, 2, &site, Some(1)).await;
    let returned = store.enrol(&again, fresh, NOW).await.unwrap().unwrap();
    assert_eq!((returned.agent, returned.again), (first, true));
    assert_eq!(store.token(fresh).await.unwrap().unwrap().uses, 0);
    store.revoke_agent(first, NOW).await.unwrap();
    assert_eq!(store.enrol(&again, by, NOW).await.unwrap(), Err(EnrolRefusal::AgentRevoked));
}

async fn every_reason_against_a_token_is_told_apart(opened: Opened) {
    let store = &opened.store;
    let (site, other) = (group(&**store, 1).await, group(&**store, 2).await);
    let by = token(&**store, 1, &site, None).await;
    let refusal =
        async |agent: NewAgent, token, now_s| store.enrol(&agent, token, now_s).await.unwrap().unwrap_err();
    assert_eq!(refusal(newcomer(1, &site), TokenId::from_random(9), NOW).await, EnrolRefusal::UnknownToken);
    assert_eq!(refusal(newcomer(1, &other), by, NOW).await, EnrolRefusal::UnknownToken);
    assert_eq!(refusal(newcomer(1, &site), by, NOW + 60).await, EnrolRefusal::Expired);
    assert_eq!(store.rotate_tokens(site.id).await.unwrap(), 2);
    assert_eq!(refusal(newcomer(1, &site), by, NOW).await, EnrolRefusal::Rotated);
    let revoked = token(&**store, 2, &other, None).await;
    assert!(store.revoke_token(revoked, NOW).await.unwrap());
    assert!(!store.revoke_token(revoked, NOW).await.unwrap());
    assert_eq!(refusal(newcomer(1, &other), revoked, NOW).await, EnrolRefusal::Revoked);
    store.delete_group(site.id, NOW).await.unwrap();
    assert_eq!(refusal(newcomer(1, &site), by, NOW).await, EnrolRefusal::GroupGone);
}

async fn exactly_one_agent_founds_a_group(opened: Opened) {
    let store = &opened.store;
    let site = group(&**store, 1).await;
    let by = token(&**store, 1, &site, None).await;
    let mut agents = Vec::new();
    for number in 1..=8 {
        agents.push(enrolled(&**store, number, &site, by).await);
    }
    let claims = agents.iter().map(|&agent| {
        let (store, group) = (store.clone(), site.id);
        tokio::spawn(async move { (agent, store.claim_founder(group, agent).await.unwrap()) })
    });
    let mut founders = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        let (agent, granted) = claim.await.unwrap();
        founders.extend(granted.then_some(agent));
    }
    let [founder] = founders[..] else { panic!("{founders:?}") };
    assert!(store.claim_founder(site.id, founder).await.unwrap(), "it may ask again");
    store.revoke_agent(founder, NOW).await.unwrap();
    assert!(!store.claim_founder(site.id, founder).await.unwrap(), "not after it was revoked");
    let heir = *agents.iter().find(|&&agent| agent != founder).unwrap();
    assert!(store.claim_founder(site.id, heir).await.unwrap(), "a revoked founder makes room");
    store.mark_founded(site.id).await.unwrap();
    store.revoke_agent(heir, NOW).await.unwrap();
    for agent in agents {
        assert!(
            !store.claim_founder(site.id, agent).await.unwrap(),
            "a founded group is never founded again"
        );
    }
}

async fn revocation_is_for_good_and_in_order(opened: Opened) {
    let store = &opened.store;
    let site = group(&**store, 1).await;
    let by = token(&**store, 1, &site, None).await;
    let (one, two) = (enrolled(&**store, 1, &site, by).await, enrolled(&**store, 2, &site, by).await);
    assert!(store.renew_agent(one, "ab", NOW + 9).await.unwrap());
    assert!(store.revoke_agent(one, NOW).await.unwrap());
    assert!(!store.revoke_agent(one, NOW + 1).await.unwrap());
    assert!(!store.renew_agent(one, "cd", NOW + 99).await.unwrap());
    let kept = store.agent(one).await.unwrap().unwrap();
    assert_eq!((kept.serial.as_str(), kept.not_after_s, kept.revoked_s), ("ab", NOW + 9, Some(NOW)));
    let first = store.revocations(0).await.unwrap();
    assert_eq!(first.iter().map(|revocation| revocation.agent).collect::<Vec<_>>(), [one]);
    assert_eq!(store.delete_group(site.id, NOW).await.unwrap(), [two]);
    let news = store.revocations(first[0].number).await.unwrap();
    assert_eq!(news.iter().map(|revocation| revocation.agent).collect::<Vec<_>>(), [two]);
    let stranger = AgentId::from_random(77);
    assert!(matches!(store.revoke_agent(stranger, NOW).await, Err(StoreError::Unknown { .. })));
}

async fn listeners_keep_their_address_across_a_restart(opened: Opened) {
    let store = &opened.store;
    let site = group(&**store, 1).await;
    let listener = |resource: &str, port| ListenerRecord {
        group: site.id,
        resource: name(resource),
        at: ListenAt { host: None, port },
    };
    assert_eq!(store.keep_listener(&listener("db", 5002)).await.unwrap(), listener("db", 5002));
    store.keep_listener(&listener("web", 5001)).await.unwrap();
    assert!(matches!(store.keep_listener(&listener("ssh", 5002)).await, Err(StoreError::Taken { .. })));
    let kept = store.keep_listener(&listener("db", 5000)).await.unwrap();
    assert_eq!(kept, listener("db", 5002), "of two gateways that choose, the first has chosen for both");
    store.close().await;
    let again = SqlStore::open(&opened.location).await.unwrap();
    assert_eq!(again.listeners().await.unwrap(), [listener("db", 5002), listener("web", 5001)]);
    assert_eq!(again.delete_listener(site.id, &name("db")).await.unwrap().map(|at| at.port), Some(5002));
    assert_eq!(again.delete_listener(site.id, &name("db")).await.unwrap(), None);
}

async fn the_last_admin_stays(opened: Opened) {
    let store = &opened.store;
    let (admin, viewer) = (user(1, UserRole::Admin), user(2, UserRole::Viewer));
    store.create_user(&admin).await.unwrap();
    store.create_user(&viewer).await.unwrap();
    assert!(matches!(store.create_user(&user(2, UserRole::Viewer)).await, Err(StoreError::Taken { .. })));
    assert_eq!(store.user_by_token(&[2; 32]).await.unwrap(), Some(viewer.clone()));
    assert_eq!(store.user_by_token(&[3; 32]).await.unwrap(), None);
    assert!(matches!(store.delete_user(admin.id).await, Err(StoreError::LastAdmin { .. })));
    store.delete_user(viewer.id).await.unwrap();
    store.create_user(&user(3, UserRole::Admin)).await.unwrap();
    store.delete_user(admin.id).await.unwrap();
    assert!(matches!(store.delete_user(admin.id).await, Err(StoreError::Unknown { .. })));
}

async fn audit_is_told_newest_first(opened: Opened) {
    let store = &opened.store;
    for at_ms in 1..=3 {
        store.add_audit(&entry(at_ms)).await.unwrap();
    }
    let told: Vec<u64> = store.audit(2).await.unwrap().iter().map(|entry| entry.at_ms).collect();
    assert_eq!(told, [3, 2]);
}

async fn what_gateways_keep_in_memory_is_news(opened: Opened) {
    let store = &opened.store;
    let mut last = store.news().await.unwrap();
    let mut news = async || {
        let now = store.news().await.unwrap();
        std::mem::replace(&mut last, now) != now
    };
    let site = group(&**store, 1).await;
    assert!(news().await, "a group");
    let by = token(&**store, 1, &site, None).await;
    let agent = enrolled(&**store, 1, &site, by).await;
    store.add_audit(&entry(1)).await.unwrap();
    assert!(!news().await, "nobody keeps these in memory");
    store.revoke_agent(agent, NOW).await.unwrap();
    assert!(news().await, "a revocation");
    store.revoke_agent(agent, NOW).await.unwrap();
    assert!(!news().await, "it was revoked before");
    let at = ListenAt { host: None, port: 5000 };
    let listener = ListenerRecord { group: site.id, resource: name("db"), at };
    store.keep_listener(&listener).await.unwrap();
    assert!(news().await, "a listener");
    store.keep_listener(&listener).await.unwrap();
    assert!(!news().await, "it was kept before");
    store.delete_listener(site.id, &name("db")).await.unwrap();
    assert!(news().await, "a listener less");
    store.delete_group(site.id, NOW).await.unwrap();
    assert!(news().await, "a group less");
}

async fn gateways_that_serve_are_listed_and_those_that_stopped_are_not(opened: Opened) {
    let store = &opened.store;
    let gateway = |number: u64, url: &str| GatewayRecord {
        id: GatewayId::from_random(number),
        url: url.to_owned(),
        address: "10.0.0.1:443".to_owned(),
        version: "1".to_owned(),
        silent_s: 0,
    };
    let first = store.news().await.unwrap();
    store.beat(&gateway(1, "https://a")).await.unwrap();
    store.beat(&gateway(2, "https://b")).await.unwrap();
    store.beat(&gateway(1, "https://c")).await.unwrap();
    let told = store.news().await.unwrap();
    assert_eq!(told, first + 3);
    store.beat(&gateway(1, "https://c")).await.unwrap();
    assert_eq!(store.news().await.unwrap(), told, "it serves as before");
    let listed = store.gateways().await.unwrap();
    assert!(listed.iter().all(GatewayRecord::is_alive));
    let mut urls: Vec<_> = listed.into_iter().map(|gateway| gateway.url).collect();
    urls.sort();
    assert_eq!(urls, ["https://b", "https://c"]);
    store.leave(GatewayId::from_random(1)).await.unwrap();
    assert_eq!(store.gateways().await.unwrap().len(), 1);
    assert_eq!(store.news().await.unwrap(), told + 1);
    assert!(!GatewayRecord { silent_s: 11, ..gateway(3, "") }.is_alive());
}

#[tokio::test]
async fn another_gateways_news_are_heard_at_once() {
    let Some(opened) = Opened::postgres().await else { return };
    let other = SqlStore::open(&opened.location).await.unwrap();
    let mut bell = other.bell();
    // Once for the beginning.
    bell.changed().await.unwrap();
    bell.mark_unchanged();
    let before = std::time::Instant::now();
    group(&*opened.store, 1).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), bell.changed()).await.unwrap().unwrap();
    assert!(before.elapsed() < std::time::Duration::from_secs(1), "{:?}", before.elapsed());
}
