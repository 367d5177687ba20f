//! The redb file: four tables' worth of bytes, written one transaction at a time.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
    backends::FileBackend,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use warren_core::{
    id::{AgentId, GroupId},
    state::Level,
};

use super::{
    backend::{Unsynced, Watched},
    place,
    snapshot::{Checked, Saved},
};
use crate::{
    error::OpenError,
    raft::{Entry, LogId, Vote},
};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The log is read from memory; the cache only has to hold what one transaction touches.
const CACHE_BYTES: usize = 2 << 20;
/// The newest format that this program reads: that of a group at the newest level.
const FORMAT: u32 = 2 + Level::NEWEST.number();

/// Name of the file that is locked for as long as the log is in use.
const LOCK: &str = "group.lock";

const OWNER: &str = "owner";
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";
const SNAPSHOT_META: &str = "snapshot-meta";
const SNAPSHOT_DATA: &str = "snapshot-data";

/// What went wrong with the file.
#[derive(Debug, Error)]
pub(crate) enum DiskError {
    #[error("the group's log cannot be read or written")]
    Database(#[from] redb::Error),
    /// Nothing of what was to be written counts, and everything before does: worth another try.
    #[error("no space is left for the group's log: free some")]
    Full(#[source] redb::Error),
    #[error("{what} in the group's log cannot be understood")]
    Format { what: String, source: serde_json::Error },
    /// Well written, and of something that is not known here.
    #[error("{what} is of a newer program than this agent's: upgrade this agent")]
    Newer { what: String, source: serde_json::Error },
    #[error("the snapshot in the group's log is damaged: its digest differs")]
    Digest,
    #[error("the group's log has a gap: entry {expected} is missing")]
    Gap { expected: u64 },
    #[error(
        "the group's log begins behind entry {purged}, and its snapshot ends at {}",
        snapshot.map_or("no entry".to_owned(), |index| format!("entry {index}"))
    )]
    Uncovered { purged: u64, snapshot: Option<u64> },
    #[error("the group's log is closed")]
    Closed,
}

impl DiskError {
    /// Whether what lies on the disk is not what was written, as opposed to a disk that does not answer.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(redb::Error::Corrupted(_)) => true,
            Self::Database(redb::Error::Io(error)) => is_damaged_file(error),
            Self::Database(_) | Self::Full(_) | Self::Newer { .. } | Self::Closed => false,
            Self::Format { .. } | Self::Digest | Self::Gap { .. } | Self::Uncovered { .. } => true,
        }
    }
}

/// One change to the file.
#[derive(Debug)]
pub(super) enum Step {
    Vote(Vec<u8>),
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes the entries from this index on.
    Truncate(u64),
    /// Removes the entries up to and with the index, and remembers the last of them.
    Purge {
        index: u64,
        log_id: Vec<u8>,
    },
    /// Older than the one on disk: ignored.
    Snapshot(Saved, Option<u64>),
    Committed(Vec<u8>),
    Owner(Vec<u8>),
}

/// Everything the file holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// Each with its length on disk.
    pub(super) log: BTreeMap<u64, (Entry, usize)>,
    pub(super) snapshot: Option<Checked>,
}

/// The open file. Each transaction is synced twice: what a commit points at is on the disk before the commit counts. So a
/// commit that a power cut tore is never taken for one, and when what was committed does not read back, the disk has
/// changed it.
pub(super) struct Disk {
    /// `None` after a failed write, until the next one opens it anew.
    db: Option<Database>,
    open: Opener,
    unsynced: Unsynced,
    /// Let go after the database is.
    _lock: Option<File>,
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// Whose log this is, and of which epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) format: u32,
    pub(super) group: GroupId,
    pub(super) agent: AgentId,
    /// Number of this log, drawn when the file was made.
    #[serde(default)]
    pub(super) log: u64,
    /// As of the last recovery; 0 when there was none.
    #[serde(default)]
    pub(super) epoch: u64,
    /// A later epoch, from which this member is shut out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) superseded: Option<u64>,
    /// At which the group works.
    #[serde(default)]
    pub(super) level: Level,
}

impl Owner {
    pub(super) fn new(group: GroupId, agent: AgentId, log: u64) -> Self {
        Self { format: 1, group, agent, log, epoch: 0, superseded: None, level: Level::OLDEST }
    }

    /// As it is written. Each format keeps those programs out that would do harm: the second those that would take part in
    /// an epoch that is over, each further one those that do not know a level.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, DiskError> {
        let epochs = self.epoch > 1 || self.superseded.is_some();
        let format = match self.level {
            Level::OLDEST => 1 + u32::from(epochs),
            level => 2 + level.number(),
        };
        json(OWNER, &Self { format, ..self.clone() })
    }
}

impl Disk {
    pub(super) fn open(dir: &Path, path: &Path) -> Result<Self, OpenError> {
        let folder = |source| OpenError::Folder { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(folder)?;
        let lock = lock(dir, path)?;
        let (unsynced, file) = (Unsynced::default(), path.to_owned());
        let watched = unsynced.clone();
        let open = Box::new(move || database(FileBackend::new(private(&file)?)?, &watched));
        let opened = Self::first(open, unsynced);
        // The folder must remember the new file too, or a power cut takes the whole log.
        place::sync(dir).map_err(folder)?;
        opened.map(|disk| Self { _lock: Some(lock), ..disk }).map_err(|error| match error {
            DiskError::Database(redb::Error::DatabaseAlreadyOpen) => {
                OpenError::InUse { path: path.to_owned() }
            }
            error => unreadable(path, error),
        })
    }

    #[cfg(test)]
    pub(super) fn on(backend: impl StorageBackend + Clone) -> Result<Self, DiskError> {
        let unsynced = Unsynced::default();
        let watched = unsynced.clone();
        Self::first(Box::new(move || database(backend.clone(), &watched)), unsynced)
    }

    fn first(open: Opener, unsynced: Unsynced) -> Result<Self, DiskError> {
        let db = open().map_err(redb::Error::from)?;
        let txn = begin(&db)?;
        txn.open_table(LOG).map_err(redb::Error::from)?;
        txn.open_table(META).map_err(redb::Error::from)?;
        txn.commit().map_err(redb::Error::from)?;
        Ok(Self { db: Some(db), open, unsynced, _lock: None })
    }

    /// Writes down whose log this is, or checks that it is the caller's.
    pub(super) fn claim(&mut self, path: &Path, mine: GroupId, me: AgentId) -> Result<Owner, OpenError> {
        let unreadable = |error| unreadable(path, error);
        let found = self.meta::<Owner>(OWNER).map_err(unreadable)?;
        if let Some(owner) = &found {
            if !(1..=FORMAT).contains(&owner.format) {
                let (path, found) = (path.to_owned(), owner.format);
                return Err(OpenError::Format { path, found, known: FORMAT });
            }
            if (owner.group, owner.agent) != (mine, me) {
                let (agent, group) = (owner.agent, owner.group);
                return Err(OpenError::Foreign { path: path.to_owned(), agent, group, me, mine });
            }
        }
        match found {
            Some(owner) if owner.log != 0 => Ok(owner),
            // New, or made by a program that gave no numbers.
            found => {
                let fresh = Owner::new(mine, me, rand::random_range(1..=u64::MAX));
                let owner = Owner { log: fresh.log, ..found.unwrap_or(fresh) };
                let bytes = owner.bytes().map_err(unreadable)?;
                self.write([Step::Owner(bytes)].iter()).map_err(unreadable)?;
                Ok(owner)
            }
        }
    }

    pub(super) fn load(&self) -> Result<Loaded, DiskError> {
        let txn = self.reading()?.begin_read().map_err(redb::Error::from)?;
        let table = txn.open_table(LOG).map_err(redb::Error::from)?;
        let mut log = BTreeMap::new();
        for item in table.iter().map_err(redb::Error::from)? {
            let (index, bytes) = item.map_err(redb::Error::from)?;
            let (index, bytes) = (index.value(), bytes.value());
            let entry: Entry = from_json(&format!("entry {index}"), bytes)?;
            log.insert(index, (entry, bytes.len()));
        }
        let snapshot = match (self.raw(SNAPSHOT_META)?, self.raw(SNAPSHOT_DATA)?) {
            (Some(meta), Some(data)) => Some(Saved { head: meta, data: data.into() }.check()?),
            _ => None,
        };
        let purged: Option<LogId> = self.meta(PURGED)?;
        let snapshot_at = snapshot.as_ref().and_then(Checked::index);
        if let Some(LogId { index, .. }) = purged
            && snapshot_at < Some(index)
        {
            return Err(DiskError::Uncovered { purged: index, snapshot: snapshot_at });
        }
        let first = purged.map_or(0, |id| id.index + 1);
        for (expected, (index, (entry, _))) in (first..).zip(&log) {
            if (*index, entry.log_id.index) != (expected, expected) {
                return Err(DiskError::Gap { expected });
            }
        }
        Ok(Loaded { vote: self.meta(VOTE)?, purged, committed: self.meta(COMMITTED)?, log, snapshot })
    }

    /// Takes all steps in one transaction; durable when it returns. After [`DiskError::Full`] the same steps may be
    /// tried again, after any other failure it is not known what the disk holds.
    pub(super) fn write<'a>(&mut self, steps: impl Iterator<Item = &'a Step>) -> Result<(), DiskError> {
        let opened = self.db.take().map_or_else(|| (self.open)().map_err(redb::Error::from), Ok);
        let written = opened.and_then(|db| transact(&db, steps).map(|()| db));
        match written {
            Ok(db) => {
                self.db = Some(db);
                Ok(())
            }
            Err(redb::Error::Io(error)) if is_full(&error) && !self.unsynced.is_set() => {
                Err(DiskError::Full(redb::Error::Io(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn reading(&self) -> Result<&Database, DiskError> {
        self.db.as_ref().ok_or(DiskError::Closed)
    }

    pub(super) fn raw(&self, key: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let db = self.reading()?;
        let read = || {
            let table = db.begin_read()?.open_table(META)?;
            Ok::<_, redb::Error>(table.get(key)?.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(DiskError::from)
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DiskError> {
        self.raw(key)?.map(|bytes| from_json(key, &bytes)).transpose()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("open", &self.db.is_some()).finish_non_exhaustive()
    }
}

/// What opening an existing file failed for, with its remedy.
pub(super) fn unreadable(path: &Path, error: DiskError) -> OpenError {
    let path = path.to_owned();
    if error.is_damage() {
        OpenError::Damaged { path, source: Box::new(error) }
    } else if matches!(error, DiskError::Newer { .. }) {
        OpenError::Newer { path, source: Box::new(error) }
    } else {
        OpenError::Disk { path, source: Box::new(error) }
    }
}

/// Every page is compared with its checksum first.
fn database(file: impl StorageBackend, unsynced: &Unsynced) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(Watched::new(file, unsynced.clone()))
}

/// redb takes the mode of the umask; the log holds names and addresses of the site's inside.
fn private(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).read(true);
    place::private(&mut options).open(path).map_err(StorageError::Io)
}

/// The database locks its own file, and lets go each time that it is opened anew on a full disk.
fn lock(dir: &Path, path: &Path) -> Result<File, OpenError> {
    let open = || place::private(OpenOptions::new().create(true).append(true)).open(dir.join(LOCK));
    let unusable = |source| OpenError::Folder { path: dir.to_owned(), source };
    let file = open().map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn begin(db: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    Ok(txn)
}

fn transact<'a>(db: &Database, steps: impl Iterator<Item = &'a Step>) -> Result<(), redb::Error> {
    let txn = begin(db)?;
    {
        let mut log = txn.open_table(LOG)?;
        let mut meta = txn.open_table(META)?;
        for step in steps {
            match step {
                Step::Vote(vote) => drop(meta.insert(VOTE, vote.as_slice())?),
                Step::Append(entries) => {
                    for (index, entry) in entries {
                        log.insert(index, entry.as_slice())?;
                    }
                }
                Step::Truncate(from) => log.retain_in::<u64, _>(*from.., |_, _| false)?,
                Step::Purge { index, log_id } => {
                    log.retain_in::<u64, _>(..=*index, |_, _| false)?;
                    meta.insert(PURGED, log_id.as_slice())?;
                }
                Step::Snapshot(saved, _) => {
                    meta.insert(SNAPSHOT_META, saved.head.as_slice())?;
                    meta.insert(SNAPSHOT_DATA, saved.data.as_ref())?;
                }
                Step::Committed(log_id) => drop(meta.insert(COMMITTED, log_id.as_slice())?),
                Step::Owner(owner) => drop(meta.insert(OWNER, owner.as_slice())?),
            }
        }
    }
    txn.commit()?;
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How a file answers that is shorter than it was, or no database at all.
fn is_damaged_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// Our own types always have a JSON form; an error here is a mistake in this program, and ends in a stop with its name.
pub(super) fn json<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, DiskError> {
    serde_json::to_vec(value).map_err(|source| DiskError::Format { what: format!("`{what}`"), source })
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, DiskError> {
    serde_json::from_slice(bytes).map_err(|source| {
        let what = format!("`{what}`");
        if source.is_data() { DiskError::Newer { what, source } } else { DiskError::Format { what, source } }
    })
}

#[cfg(test)]
mod tests {
    use super::{super::FILE, *};

    #[test]
    fn nobody_else_opens_the_log_while_its_disk_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut disk = Disk::open(dir.path(), &path).unwrap();
        // As after a write that found no space.
        disk.db = None;
        let second = Disk::open(dir.path(), &path);
        assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
        drop(disk);
        Disk::open(dir.path(), &path).unwrap();
    }
}
