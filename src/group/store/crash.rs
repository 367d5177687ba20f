//! Crashes at every point: a disk that forgets what was not synced, all of it or some, must still hold all that was
//! acknowledged.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    Vote,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use redb::StorageBackend;
use warren_core::state::GroupState;

use super::{
    disk::{Disk, Loaded, Owner, Step},
    log::LogStore,
    machine::Machine,
    snapshot::{Checked, Saved},
    tests::{GROUP, ME, at, entry},
    writer::Writer,
};

/// What is written to a disk in one piece, if anything of it is.
const SECTOR: usize = 512;

/// A disk in memory. What a power cut leaves is the image of the last sync and any part of what was written since; after
/// `syncs_left` it fails for good.
#[derive(Debug, Clone)]
pub(crate) struct Fragile(Arc<Mutex<Image>>);

#[derive(Debug)]
struct Image {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync.
    written: Vec<(usize, Vec<u8>)>,
    resized: bool,
    syncs_left: usize,
    /// A longer file is refused.
    len_max: usize,
    fails_as: io::ErrorKind,
}

impl Fragile {
    pub(crate) fn new(bytes: Vec<u8>, syncs_left: usize) -> Self {
        let synced = bytes.clone();
        let (written, resized) = (Vec::new(), false);
        let (len_max, fails_as) = (usize::MAX, io::ErrorKind::Other);
        Self(Arc::new(Mutex::new(Image {
            now: bytes,
            synced,
            written,
            resized,
            syncs_left,
            len_max,
            fails_as,
        })))
    }

    /// The last sync, and of what was written since each sector or not, as `rng` will have it.
    pub(crate) fn after_power_cut(&self, rng: &mut impl Rng) -> Vec<u8> {
        let image = self.image();
        let mut left = image.synced.clone();
        left.resize(image.now.len().max(left.len()), 0);
        for (start, data) in &image.written {
            for (number, sector) in data.chunks(SECTOR).enumerate() {
                let start = start + number * SECTOR;
                if rng.random() && start + sector.len() <= left.len() {
                    left[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        left
    }

    /// As a program finds it that was killed: the system still has all that was written.
    pub(super) fn after_kill(&self) -> Vec<u8> {
        self.image().now.clone()
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap()
    }
}

#[expect(clippy::unwrap_in_result, reason = "a test's own mistakes are panics, not errors of its disk")]
impl StorageBackend for Fragile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image();
        let start = usize::try_from(offset).unwrap();
        let found = image.now.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let mut image = self.image();
        if len > image.len_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        image.now.resize(len, 0);
        image.resized = true;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image();
        if image.syncs_left == 0 {
            return Err(image.fails_as.into());
        }
        image.syncs_left -= 1;
        let Image { now, synced, written, resized, .. } = &mut *image;
        if std::mem::take(resized) {
            synced.clone_from(now);
            written.clear();
        }
        for (start, data) in written.drain(..) {
            synced[start..start + data.len()].copy_from_slice(&data);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let mut image = self.image();
        image.now[start..start + data.len()].copy_from_slice(data);
        image.written.push((start, data.to_vec()));
        Ok(())
    }
}

/// What was acknowledged before the disk failed.
#[derive(Debug, Default)]
struct Acknowledged {
    last: Option<u64>,
    /// Entries from here on were asked to go, and may or may not have gone.
    cutting: Option<u64>,
    vote: Option<Vote<u64>>,
    purged: Option<u64>,
    snapshot: Option<u64>,
}

fn log_store(writer: Writer) -> LogStore {
    LogStore::new(Loaded::default(), Owner::new(GROUP, ME, 1), writer)
}

async fn work_until_it_fails(disk: Disk, rounds: u64) -> Acknowledged {
    let writer = Writer::spawn(disk, None).unwrap();
    let (mut log, mut machine) = (log_store(writer.clone()), Machine::new(None, writer));
    let mut done = Acknowledged::default();
    for round in 0..rounds {
        let vote = Vote::new(round, 7);
        if log.save_vote(&vote).await.is_err() {
            return done;
        }
        done.vote = Some(vote);
        let first = done.last.map_or(0, |last| last + 1);
        for index in first..first + 5 {
            if log.blocking_append([entry(index)]).await.is_err() {
                // After the first failure nothing is acknowledged any more.
                assert!(log.save_vote(&Vote::new(99, 7)).await.is_err());
                return done;
            }
            done.last = Some(index);
        }
        // A leader of a later term takes the last one back.
        done.cutting = Some(first + 4);
        done.last = Some(first + 3);
        if log.truncate(at(first + 4)).await.is_err() {
            return done;
        }
        done.cutting = None;
        let meta = openraft::SnapshotMeta { last_log_id: Some(at(first + 1)), ..Default::default() };
        let state = serde_json::to_vec(&GroupState::default()).unwrap();
        // Raft asks for both at once when a leader sends a snapshot.
        let installing = machine.install_snapshot(&meta, Box::new(state.into()));
        let (purged, installed) = tokio::join!(log.purge(at(first + 1)), installing);
        done.snapshot = installed.is_ok().then_some(first + 1).or(done.snapshot);
        done.purged = purged.is_ok().then_some(first + 1).or(done.purged);
        if installed.is_err() || purged.is_err() {
            return done;
        }
    }
    done
}

fn has_all(done: &Acknowledged, loaded: &Loaded, when: &str) {
    assert!(loaded.vote >= done.vote, "{when}: {:?} < {:?}", loaded.vote, done.vote);
    let last = loaded.log.last_key_value().map(|(index, _)| *index).or(loaded.purged.map(|id| id.index));
    assert!(last >= done.last, "{when}: {last:?} < {:?}", done.last);
    assert!(loaded.purged.map(|id| id.index) >= done.purged, "{when}");
    let snapshot = loaded.snapshot.as_ref().and_then(Checked::index);
    assert!(snapshot >= done.snapshot, "{when}");
    for (index, (found, _)) in &loaded.log {
        assert_eq!(&entry(*index), found, "{when}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_sync() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut failures = 0;
    for syncs in 8..110 {
        let backend = Fragile::new(Vec::new(), syncs);
        let done = match Disk::on(backend.clone()) {
            Ok(disk) => work_until_it_fails(disk, 5).await,
            Err(_) => continue,
        };
        failures += usize::from(done.purged != Some(4 * 4 + 1));
        for _ in 0..3 {
            let when = format!("after {syncs} syncs");
            let disk = Disk::on(Fragile::new(backend.after_power_cut(&mut rng), usize::MAX)).expect(&when);
            has_all(&done, &disk.load().expect(&when), &when);
        }
    }
    assert!(failures > 60, "the disk failed only {failures} times while it was written to");
}

/// What one leaves who is killed between any two writes: all steps of a transaction or none.
#[test]
fn a_transaction_is_whole_or_not_there() {
    let saved = Saved::new(&openraft::SnapshotMeta::default(), Bytes::from_static(b"x")).unwrap();
    let steps = [Step::Vote(b"1".to_vec()), Step::Append(vec![(0, vec![1])]), Step::Snapshot(saved, None)];
    let (mut whole, mut nothing) = (0, 0);
    for syncs in 0..20 {
        let backend = Fragile::new(Vec::new(), usize::MAX);
        let mut disk = Disk::on(backend.clone()).unwrap();
        backend.image().syncs_left = syncs;
        let written = disk.write(steps.iter());
        let left = Fragile::new(backend.after_kill(), usize::MAX);
        drop(disk);
        let disk = Disk::on(left).unwrap();
        let found = [disk.raw("vote"), disk.raw("snapshot-meta")].map(|value| value.unwrap().is_some());
        assert!(found == [true; 2] || found == [false; 2], "{found:?}");
        assert!(written.is_err() || found == [true; 2]);
        if found[0] { whole += 1 } else { nothing += 1 }
    }
    assert!(whole > 0 && nothing > 0, "{whole} {nothing}");
}

#[tokio::test]
async fn a_full_disk_makes_wait_and_goes_on_when_there_is_space() {
    let backend = Fragile::new(Vec::new(), usize::MAX);
    let writer = Writer::spawn(Disk::on(backend.clone()).unwrap(), None).unwrap();
    let mut log = log_store(writer.clone());
    log.blocking_append([entry(0)]).await.unwrap();
    let len = backend.image().now.len();
    backend.image().len_max = len;
    let filling = tokio::spawn(async move {
        for index in 1..3_000 {
            log.blocking_append([entry(index)]).await.unwrap();
        }
    });
    wait_for(|| writer.trouble().is_some()).await;
    let told = writer.trouble().unwrap();
    assert!(told.contains("no space is left for the group's log: free some"), "{told}");
    assert!(!filling.is_finished());
    backend.image().len_max = usize::MAX;
    filling.await.unwrap();
    assert_eq!(writer.trouble(), None);
    writer.close().await;
    let disk = Disk::on(Fragile::new(backend.after_kill(), usize::MAX)).unwrap();
    assert_eq!(disk.load().unwrap().log.len(), 3_000);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_space() {
    let backend = Fragile::new(Vec::new(), usize::MAX);
    let writer = Writer::spawn(Disk::on(backend.clone()).unwrap(), None).unwrap();
    backend.image().len_max = 0;
    let mut log = log_store(writer.clone());
    let filling = tokio::spawn(async move {
        for index in 0..3_000 {
            log.blocking_append([entry(index)]).await?;
        }
        Ok::<_, openraft::StorageError<u64>>(())
    });
    wait_for(|| writer.trouble().is_some()).await;
    writer.close().await;
    assert!(filling.await.unwrap().is_err(), "what was not written is not acknowledged");
}

#[tokio::test]
async fn a_failed_sync_ends_all_writing_even_if_it_says_that_the_disk_is_full() {
    let backend = Fragile::new(Vec::new(), usize::MAX);
    let writer = Writer::spawn(Disk::on(backend.clone()).unwrap(), None).unwrap();
    let mut log = log_store(writer.clone());
    log.blocking_append([entry(0)]).await.unwrap();
    (backend.image().fails_as, backend.image().syncs_left) = (io::ErrorKind::StorageFull, 0);
    assert!(log.blocking_append([entry(1)]).await.is_err());
    backend.image().syncs_left = usize::MAX;
    assert!(log.blocking_append([entry(2)]).await.is_err(), "no later sync proves anything");
    assert!(writer.trouble().is_some());
}

async fn wait_for(holds: impl Fn() -> bool) {
    let soon = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), soon).await.unwrap();
}
