//! A snapshot from the leader, further than the log reaches.

use std::pin::pin;

use futures_util::poll;
use openraft::{
    SnapshotMeta, Vote,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
};
use warren_core::state::GroupState;

use super::{
    FILE, Offline, OpenError, Store,
    disk::{Disk, Step, json},
    open,
    tests::{GROUP, ME, at, entry},
};

const END: u64 = 20;

/// A log that ends at entry 5.
async fn short(dir: &tempfile::TempDir) -> Store {
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    store.log.blocking_append((0..=5).map(entry)).await.unwrap();
    store
}

fn snapshot() -> (SnapshotMeta<u64, crate::raft::Seat>, Vec<u8>) {
    let meta = SnapshotMeta { last_log_id: Some(at(END)), ..Default::default() };
    (meta, serde_json::to_vec(&GroupState::default()).unwrap())
}

#[tokio::test]
async fn nothing_is_purged_before_its_snapshot_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = short(&dir).await;
    let mut log = store.log.clone();
    let mut purging = pin!(log.purge(at(END)));
    assert!(poll!(&mut purging).is_pending());
    // Steps are taken in order: had the purge been one, it would be on the disk now. Here the agent is killed.
    store.log.save_vote(&Vote::new(3, 7)).await.unwrap();
    store.writer.close().await;
    assert!(purging.await.is_err());
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    let state = store.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (None, Some(at(5))));

    let (meta, data) = snapshot();
    let (purged, installed) =
        tokio::join!(store.log.purge(at(END)), store.machine.install_snapshot(&meta, Box::new(data.into())));
    assert!(purged.is_ok() && installed.is_ok());
    store.writer.close().await;
    let mut again = open(dir.path(), GROUP, ME).unwrap();
    assert_eq!(again.log.get_log_state().await.unwrap().last_purged_log_id, Some(at(END)));
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = short(&dir).await;
    let (meta, _) = snapshot();
    let installing = store.machine.install_snapshot(&meta, Box::new(b"?".to_vec().into()));
    let (purged, installed) = tokio::join!(store.log.purge(at(END)), installing);
    assert!(purged.is_err() && installed.is_err());
    let trouble = store.log.trouble().unwrap();
    assert!(trouble.contains("`state` in the group's log cannot be understood"), "{trouble}");
}

#[tokio::test]
async fn a_purge_without_its_snapshot_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = short(&dir).await;
    store.writer.close().await;
    let mut disk = Disk::open(dir.path(), &dir.path().join(FILE)).unwrap();
    let purge = Step::Purge { index: END, log_id: json("purged", &at(END)).unwrap() };
    disk.write([purge].iter()).unwrap();
    drop(disk);
    let error = open(dir.path(), GROUP, ME).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { .. }), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the group's log begins behind entry 20, and its snapshot ends at no entry");
}

#[tokio::test]
async fn a_recovery_leaves_no_gap_behind_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = short(&dir).await;
    let (meta, data) = snapshot();
    store.machine.install_snapshot(&meta, Box::new(data.into())).await.unwrap();
    store.writer.close().await;
    let (path, mut offline, remains) = Offline::open(dir.path(), GROUP, ME).unwrap();
    assert_eq!(remains.last, at(END));
    offline.succeed(&path, 2, Vote::new(9, ME.number()), &[entry(END + 1)]).unwrap();
    drop(offline);
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    let state = store.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(at(END)), Some(at(END + 1))));
}
