//! Disks that changed what was written: never read as something else.

use openraft::{
    RaftLogReader, RaftSnapshotBuilder, Vote,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
};

use super::{
    FILE, OpenError, open,
    tests::{GROUP, ME, at, entry},
};

/// A file with all that a member keeps, closed as an agent closes it.
async fn written() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    store.log.save_vote(&Vote::new(3, ME.number())).await.unwrap();
    store.log.blocking_append((0..=60).map(entry)).await.unwrap();
    store.machine.apply((0..=30).map(entry)).await.unwrap();
    store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    store.log.purge(at(20)).await.unwrap();
    store.log.save_committed(Some(at(55))).await.unwrap();
    store.writer.close().await;
    let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
    (dir, bytes)
}

/// What a file of these bytes is read as.
async fn read(bytes: &[u8]) -> Result<String, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    let mut store = open(dir.path(), GROUP, ME)?;
    let log = store.log.get_log_state().await.unwrap();
    let entries = store.log.try_get_log_entries(..).await.unwrap();
    let (vote, committed) = (store.log.read_vote().await.unwrap(), store.log.read_committed().await.unwrap());
    let snapshot = store.machine.get_current_snapshot().await.unwrap();
    let snapshot = snapshot.map(|snapshot| (snapshot.meta, snapshot.snapshot));
    store.writer.close().await;
    Ok(format!("{log:?} {entries:?} {vote:?} {committed:?} {snapshot:?}"))
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_is_nowhere() {
    let (_dir, bytes) = written().await;
    let whole = read(&bytes).await.unwrap();
    let (mut refused, mut elsewhere) = (0, 0);
    // Most of a small file is room for more.
    let used = (0..bytes.len()).filter(|place| bytes[*place] != 0);
    for place in used.step_by(113) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        match read(&flipped).await {
            Ok(found) if found == whole => elsewhere += 1,
            Ok(found) => panic!("a bit at {place} was read as {found}"),
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("a bit at {place}: {other}"),
        }
    }
    println!("{refused} refused, {elsewhere} in no use, of {} bytes", bytes.len());
    assert!(refused > 100, "only {refused} flips hit something");
}

#[tokio::test]
async fn a_file_cut_short_is_refused() {
    let (_dir, bytes) = written().await;
    for kept in [1, 100, 4_096, bytes.len() / 2, bytes.len() - 4_096, bytes.len() - 1] {
        let error = read(&bytes[..kept]).await.unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{kept} bytes: {error}");
        assert!(error.to_string().contains("enrol it again"), "{error}");
    }
}
