use openraft::{
    CommittedLeaderId, EntryPayload, RaftLogReader, RaftSnapshotBuilder, Vote,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
    testing::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use warren_core::state::{Command, Proposal, RequestId};

use super::*;
use crate::raft::{Entry, LogId, Types};

pub(super) const GROUP: GroupId = GroupId::from_random(1);
pub(super) const ME: AgentId = AgentId::from_random(2);

/// The suite purges without a snapshot: here as if one covered everything.
struct OnDisk;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut disk = Disk::open(dir.path(), &path).unwrap();
        let owner = disk.claim(&path, GROUP, ME).unwrap();
        let writer = Writer::spawn(disk, Some(u64::MAX)).unwrap();
        let log = LogStore::new(disk::Loaded::default(), owner, writer.clone());
        Ok((dir, log, Machine::new(None, writer)))
    }
}

#[test]
fn the_suite_of_the_raft_library_is_content() {
    Suite::test_all(OnDisk).unwrap();
}

pub(super) fn at(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, ME.number()), index)
}

pub(super) fn entry(index: u64) -> Entry {
    let command = Command::Join {
        member: AgentId::from_random(index + 1),
        name: format!("agent-{index}"),
        peer_address: "h:1".into(),
        version: "1".into(),
    };
    let proposal =
        Proposal { request: RequestId(u128::from(index)), author: "test".into(), at_ms: index, command };
    Entry { log_id: at(index), payload: EntryPayload::Normal(proposal) }
}

/// Opens as soon as the writer of the store before has let go.
async fn reopen(dir: &TempDir) -> Store {
    for _ in 0..200 {
        match open(dir.path(), GROUP, ME) {
            Ok(store) => return store,
            Err(OpenError::InUse { .. }) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the file stays open");
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    assert!(!store.log.is_used());
    let vote = Vote::new_committed(3, ME.number());
    store.log.save_vote(&vote).await.unwrap();
    store.log.blocking_append((0..=20).map(entry)).await.unwrap();
    store.log.truncate(at(18)).await.unwrap();
    store.machine.apply((0..=4).map(entry)).await.unwrap();
    store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    store.log.purge(at(4)).await.unwrap();
    store.log.save_committed(Some(at(10))).await.unwrap();
    drop(store);

    let mut store = reopen(&dir).await;
    assert!(store.log.is_used());
    assert_eq!(store.log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.log.read_committed().await.unwrap(), Some(at(10)));
    let state = store.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(at(4)), Some(at(17))));
    let entries = store.log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, (5..=17).map(entry).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_brings_the_state_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    store.machine.apply((0..=5).map(entry)).await.unwrap();
    let mut builder = store.machine.get_snapshot_builder().await;
    // What is applied after the builder was made is not in the snapshot.
    store.machine.apply([entry(6)]).await.unwrap();
    let taken = builder.build_snapshot().await.unwrap();
    assert_eq!(taken.meta.last_log_id, Some(at(5)));
    store.writer.close().await;
    // The file is free although the old handles live.
    let mut again = open(dir.path(), GROUP, ME).unwrap();
    assert_eq!(again.machine.applied_state().await.unwrap().0, Some(at(5)));
    let current = again.machine.watch();
    assert_eq!(current.borrow().state.members.len(), 6);
    let offered = again.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((offered.meta, offered.snapshot), (taken.meta, taken.snapshot));
    // A closed writer refuses by name.
    let error = store.log.save_vote(&Vote::new(9, 9)).await.unwrap_err().to_string();
    assert!(error.contains("closed"), "{error}");
}

#[tokio::test]
async fn an_older_snapshot_does_not_replace_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    store.machine.apply([entry(0)]).await.unwrap();
    let mut old = store.machine.get_snapshot_builder().await;
    store.machine.apply([entry(1)]).await.unwrap();
    store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    old.build_snapshot().await.unwrap();
    let kept = store.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.meta.last_log_id, Some(at(1)));
    store.writer.close().await;
    let mut again = open(dir.path(), GROUP, ME).unwrap();
    assert_eq!(again.machine.applied_state().await.unwrap().0, Some(at(1)));
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), GROUP, ME).unwrap();
    assert!(matches!(open(dir.path(), GROUP, ME), Err(OpenError::InUse { .. })));
    let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.writer.close().await;
    let other = AgentId::from_random(9);
    let error = open(dir.path(), GROUP, other).unwrap_err();
    assert!(
        matches!(&error, OpenError::Foreign { agent, me, .. } if (*agent, *me) == (ME, other)),
        "{error}"
    );
    assert!(open(dir.path(), GroupId::from_random(8), ME).is_err());
    fs::write(dir.path().join(FILE), [7; 9_000]).unwrap();
    let error = open(dir.path(), GROUP, ME).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}
