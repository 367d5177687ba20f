//! The file stays small, however much has gone through it.

use openraft::{
    EntryPayload, RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
};
use warren_core::{
    config::Resource,
    state::{Change, Command, Proposal, RequestId},
};

use super::{
    FILE, open,
    tests::{GROUP, ME, at},
};
use crate::{options::Tuning, raft::Entry};

const CHANGES: u64 = 100_000;
const BATCH: u64 = 500;
const BYTES_MAX: u64 = 8 << 20;

/// One of a few resources moves to another port.
fn change(index: u64) -> Entry {
    let target = format!("db-{}.corp.example:{}", index % 10, 1 + index % 60_000);
    let resource =
        Resource { target: target.parse().unwrap(), policy: Default::default(), description: String::new() };
    let change = Change::PutResource { name: format!("db-{}", index % 10).parse().unwrap(), resource };
    let command = Command::Config { expected: None, change };
    let request = RequestId(u128::from(index));
    let proposal = Proposal { request, author: "ann".into(), at_ms: index, command };
    Entry { log_id: at(index), payload: EntryPayload::Normal(proposal) }
}

#[tokio::test]
async fn a_hundred_thousand_changes_leave_a_small_file() {
    let Tuning { snapshot_every, log_keep, .. } = Tuning::default();
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    let mut largest = 0;
    for first in (0..CHANGES).step_by(usize::try_from(BATCH).unwrap()) {
        let entries: Vec<_> = (first..first + BATCH).map(change).collect();
        store.log.blocking_append(entries.clone()).await.unwrap();
        store.machine.apply(entries).await.unwrap();
        let last = first + BATCH - 1;
        if (last + 1).is_multiple_of(snapshot_every) {
            store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
            store.log.purge(at(last - log_keep)).await.unwrap();
        }
        largest = largest.max(std::fs::metadata(dir.path().join(FILE)).unwrap().len());
    }
    let state = store.machine.watch().borrow().state.clone();
    assert_eq!(state.revision, CHANGES);
    store.writer.close().await;
    let closed = std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    println!("{largest} bytes at most, {closed} when closed");
    assert!(largest < BYTES_MAX, "{largest} bytes");
    let again = open(dir.path(), GROUP, ME).unwrap();
    assert_eq!(again.machine.watch().borrow().state, state);
}
