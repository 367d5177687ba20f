//! A database that goes away and comes back.

use sqlx::{Connection, Executor, PgConnection};

use super::*;

#[tokio::test]
async fn a_database_that_is_away_is_told_and_found_again() {
    let Some(server) = Postgres::start(&[]) else { return };
    let location = database(&server);
    let store = SqlStore::open(&location).await.unwrap();
    store.settle("k", "one").await.unwrap();

    server.end();
    let away = store.setting("k").await.unwrap_err();
    assert!(matches!(away, StoreError::Away { .. }), "{away:?}");
    let away = store.settle("k", "two").await.unwrap_err();
    assert!(matches!(away, StoreError::Away { .. }), "{away:?}");
    let at_start = SqlStore::open(&location).await.unwrap_err();
    assert!(matches!(at_start, StoreError::OpenAway { .. }), "{at_start:?}");

    server.begin();
    assert_eq!(store.settle("k", "two").await.unwrap(), "one");
    assert_eq!(store.setting("k").await.unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_any_more_holds_up_no_other() {
    let Some(opened) = Opened::postgres().await else { return };
    let given_up = async {
        // Dropped in the middle, as by a caller who hangs up.
        tokio::select! {
            biased;
            done = opened.store.settle("a", "1") => drop(done),
            () = tokio::task::yield_now() => {}
        }
    };
    given_up.await;
    assert_eq!(opened.store.settle("b", "2").await.unwrap(), "2");
}

#[tokio::test]
async fn a_database_that_takes_too_long_is_as_good_as_away() {
    let Some(server) = shared_server() else { return };
    let location = database(&server);
    let store = SqlStore::open(&location).await.unwrap();
    let mut other = PgConnection::connect(&location.to_string()).await.unwrap();
    other.execute("BEGIN").await.unwrap();
    other.execute("LOCK TABLE settings").await.unwrap();
    let late = store.setting("k").await.unwrap_err();
    assert!(matches!(late, StoreError::Away { .. }), "{late:?}");
}
