//! A store carried over into another.

use std::fmt::Debug;

use super::*;

/// Something in every table.
async fn fill(store: &dyn Store) {
    store.settle("authority", "sealed").await.unwrap();
    let acme = customer(store, 1, "acme").await;
    let site = a_group(1, "prod", Some(&acme));
    store.create_group(&site).await.unwrap();
    let gone = group(store, 2).await;
    let by = token(store, 1, &site, Some(9)).await;
    let (one, two) = (enrolled(store, 1, &site, by).await, enrolled(store, 2, &site, by).await);
    assert!(store.claim_founder(site.id, one).await.unwrap());
    store.renew_agent(one, "ab", NOW + 9).await.unwrap();
    store.revoke_agent(two, NOW).await.unwrap();
    store.delete_group(gone.id, NOW).await.unwrap();
    let at = ListenAt { host: None, port: 5000 };
    store.keep_listener(&ListenerRecord { group: site.id, resource: name("db"), at }).await.unwrap();
    store.create_user(&user(1, UserRole::Admin)).await.unwrap();
    store.add_audit(&entry(7)).await.unwrap();
}

/// What people and gateways see of it.
async fn seen(store: &dyn Store) -> impl PartialEq + Debug {
    let settled = store.setting("authority").await.unwrap();
    let owners = (store.customers().await.unwrap(), store.groups().await.unwrap());
    let enrolled = (store.agents(None).await.unwrap(), store.revocations(0).await.unwrap());
    let rest = (store.tokens(None).await.unwrap(), store.listeners().await.unwrap());
    (settled, owners, enrolled, rest, store.users().await.unwrap(), store.audit(9).await.unwrap())
}

async fn carry(from: Opened, to: Opened) {
    fill(&*from.store).await;
    let text = SqlStore::open_as_it_is(&from.location).await.unwrap().export().await.unwrap().to_text(NOW);
    let whole = Whole::from_text(&text).unwrap();
    let target = SqlStore::open(&to.location).await.unwrap();
    target.import(&whole).await.unwrap();
    assert_eq!(seen(&*to.store).await, seen(&*from.store).await);
    assert_eq!(target.export().await.unwrap(), whole);
    assert!(matches!(target.import(&whole).await, Err(StoreError::NotEmpty { .. })), "never twice");

    // It is a store like any other: numbers go on, the founder is known.
    let one = AgentId::from_random(1);
    let before = to.store.revocations(0).await.unwrap();
    to.store.revoke_agent(one, NOW).await.unwrap();
    let news = to.store.revocations(before[0].number).await.unwrap();
    assert_eq!(news.iter().map(|revocation| revocation.agent).collect::<Vec<_>>(), [one]);
    to.store.add_audit(&entry(8)).await.unwrap();
    assert_eq!(to.store.audit(9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn from_file_to_file() {
    carry(Opened::sqlite().await, Opened::sqlite().await).await;
}

#[tokio::test]
async fn from_file_to_server() {
    let Some(to) = Opened::postgres().await else { return };
    carry(Opened::sqlite().await, to).await;
}

#[tokio::test]
async fn from_server_to_file() {
    let Some(from) = Opened::postgres().await else { return };
    carry(from, Opened::sqlite().await).await;
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_made_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::Sqlite(folder.path().join("mistyped.db"));
    let refused = SqlStore::open_as_it_is(&location).await;
    assert!(matches!(refused, Err(StoreError::NoTables { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    if let Some(server) = shared_server() {
        let refused = SqlStore::open_as_it_is(&database(&server)).await;
        assert!(matches!(refused, Err(StoreError::NoTables { .. })));
    }
}
