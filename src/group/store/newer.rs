//! Logs of programs that know more.

use openraft::storage::RaftLogStorageExt;
use warren_core::state::Level;

use super::{
    FILE, OpenError,
    disk::{Disk, Step},
    open,
    tests::{GROUP, ME, entry},
};

#[tokio::test]
async fn a_log_with_an_unknown_entry_is_not_taken_for_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), GROUP, ME).unwrap();
    store.log.blocking_append((0..=5).map(entry)).await.unwrap();
    store.writer.close().await;
    let mut disk = Disk::open(dir.path(), &dir.path().join(FILE)).unwrap();
    let unknown = serde_json::to_string(&entry(6)).unwrap().replace("\"join\":{", "\"colour\":{");
    disk.write([Step::Append(vec![(6, unknown.into_bytes())])].iter()).unwrap();
    drop(disk);
    let error = open(dir.path(), GROUP, ME).unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn programs_that_do_not_know_the_level_do_not_open_the_log() {
    let dir = tempfile::tempdir().unwrap();
    for (level, format) in
        [(Level::OLDEST, 1), (Level::NEWEST, 2 + Level::NEWEST.number()), (Level::OLDEST, 3)]
    {
        let store = open(dir.path(), GROUP, ME).unwrap();
        store.log.keep_level(level).await.unwrap();
        store.writer.close().await;
        let disk = Disk::open(dir.path(), &dir.path().join(FILE)).unwrap();
        let owner: serde_json::Value = serde_json::from_slice(&disk.raw("owner").unwrap().unwrap()).unwrap();
        assert_eq!(owner["format"], format, "{level}");
    }
}
