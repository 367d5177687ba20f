//! Crashes at every point: a disk that forgets what was not synced must still hold all that was acknowledged.

use std::{
    io,
    sync::{Arc, Mutex},
};

use openraft::{
    Vote,
    storage::{RaftLogStorage, RaftLogStorageExt},
};
use redb::StorageBackend;

use super::{
    disk::{Disk, Loaded},
    log::LogStore,
    tests::{at, entry},
    writer::Writer,
};

/// A disk in memory. What a power cut leaves is the image of the last sync; after `syncs_left` it fails for good.
#[derive(Debug, Clone)]
struct Fragile(Arc<Mutex<Image>>);

#[derive(Debug)]
struct Image {
    now: Vec<u8>,
    synced: Vec<u8>,
    syncs_left: usize,
}

impl Fragile {
    fn new(bytes: Vec<u8>, syncs_left: usize) -> Self {
        Self(Arc::new(Mutex::new(Image { now: bytes.clone(), synced: bytes, syncs_left })))
    }

    fn after_power_cut(&self) -> Vec<u8> {
        self.0.lock().unwrap().synced.clone()
    }
}

#[expect(clippy::unwrap_in_result, reason = "a test's own mistakes are panics, not errors of its disk")]
impl StorageBackend for Fragile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&image.now[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        if image.syncs_left == 0 {
            return Err(io::Error::other("no space left on device"));
        }
        image.syncs_left -= 1;
        image.synced = image.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.0.lock().unwrap().now[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// What was acknowledged before the disk failed.
#[derive(Debug, Default)]
struct Acknowledged {
    last: Option<u64>,
    vote: Option<Vote<u64>>,
    purged: Option<u64>,
}

async fn work_until_it_fails(disk: Disk) -> Acknowledged {
    let writer = Writer::spawn(disk, None).unwrap();
    let Loaded { log, purged, vote, committed, .. } = Loaded::default();
    let mut log = LogStore::new(log, purged, vote, committed, writer);
    let mut done = Acknowledged::default();
    for round in 0..8 {
        let vote = Vote::new(round, 7);
        if log.save_vote(&vote).await.is_err() {
            return done;
        }
        done.vote = Some(vote);
        for index in round * 5..round * 5 + 5 {
            if log.blocking_append([entry(index)]).await.is_err() {
                // After the first failure nothing is acknowledged any more.
                assert!(log.save_vote(&Vote::new(99, 7)).await.is_err());
                return done;
            }
            done.last = Some(index);
        }
        if log.purge(at(round * 5 + 1)).await.is_err() {
            return done;
        }
        done.purged = Some(round * 5 + 1);
    }
    done
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_sync() {
    let mut failures = 0;
    for syncs in 8..70 {
        let backend = Fragile::new(Vec::new(), syncs);
        let done = match Disk::on(backend.clone()) {
            Ok(disk) => work_until_it_fails(disk).await,
            Err(_) => continue,
        };
        failures += usize::from(done.last != Some(39));
        let disk = Disk::on(Fragile::new(backend.after_power_cut(), usize::MAX)).unwrap();
        let loaded = disk.load().unwrap();
        assert!(loaded.vote >= done.vote, "after {syncs} syncs: {:?} < {:?}", loaded.vote, done.vote);
        assert!(loaded.log.last_key_value().map(|(index, _)| *index) >= done.last, "after {syncs} syncs");
        assert!(loaded.purged.map(|id| id.index) >= done.purged);
        let first = loaded.purged.map_or(0, |id| id.index + 1);
        for (expected, (index, (found, _))) in (first..).zip(&loaded.log) {
            assert_eq!((expected, &entry(expected)), (*index, found), "after {syncs} syncs");
        }
    }
    assert!(failures > 20, "the disk failed only {failures} times while it was written to");
}
