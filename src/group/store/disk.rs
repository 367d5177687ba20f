//! The redb file: four tables' worth of bytes, written one transaction at a time.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use warren_core::id::{AgentId, GroupId};

use super::snapshot::Saved;
use crate::{
    error::OpenError,
    raft::{Entry, LogId, Vote},
};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The log is read from memory; the cache only has to hold what one transaction touches.
const CACHE_BYTES: usize = 2 << 20;
/// Raised when older programs could not read the file.
const FORMAT: u32 = 1;

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
    #[error("`{what}` in the group's log cannot be understood")]
    Format { what: String, source: serde_json::Error },
    #[error("the snapshot in the group's log is damaged: its digest differs")]
    Digest,
    #[error("the group's log is closed")]
    Closed,
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
}

/// Everything the file holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// Each with its length on disk.
    pub(super) log: BTreeMap<u64, (Entry, usize)>,
    pub(super) snapshot: Option<Saved>,
}

#[derive(Debug)]
pub(super) struct Disk {
    db: Database,
}

/// Whose log this is.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    format: u32,
    group: GroupId,
    agent: AgentId,
}

impl Disk {
    pub(super) fn open(dir: &Path, path: &Path) -> Result<Self, OpenError> {
        let folder = |source| OpenError::Folder { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(folder)?;
        // redb takes the mode of the umask; the log holds names and addresses of the site's inside.
        let made =
            OpenOptions::new().create(true).truncate(false).write(true).read(true).mode(0o600).open(path);
        made.map_err(|source| OpenError::Disk { path: path.to_owned(), source: source.into() })?;
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        // The folder must remember the new file too, or a power cut takes the whole log.
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(folder)?;
        match opened {
            Ok(db) => Self::with(db).map_err(|e| OpenError::Disk { path: path.to_owned(), source: e.into() }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(e) => Err(OpenError::Disk { path: path.to_owned(), source: e.into() }),
        }
    }

    #[cfg(test)]
    pub(super) fn on(backend: impl redb::StorageBackend) -> Result<Self, DiskError> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        Self::with(opened.map_err(redb::Error::from)?)
    }

    fn with(db: Database) -> Result<Self, DiskError> {
        let txn = db.begin_write().map_err(redb::Error::from)?;
        txn.open_table(LOG).map_err(redb::Error::from)?;
        txn.open_table(META).map_err(redb::Error::from)?;
        txn.commit().map_err(redb::Error::from)?;
        Ok(Self { db })
    }

    /// Writes down whose log this is, or checks that it is the caller's.
    pub(super) fn claim(&self, path: &Path, mine: GroupId, me: AgentId) -> Result<(), OpenError> {
        let unreadable = |e: DiskError| OpenError::Disk { path: path.to_owned(), source: Box::new(e) };
        let Some(owner) = self.meta::<Owner>(OWNER).map_err(unreadable)? else {
            let owner = Owner { format: FORMAT, group: mine, agent: me };
            let bytes = json(OWNER, &owner).map_err(unreadable)?;
            return self.put(OWNER, &bytes).map_err(unreadable);
        };
        if owner.format != FORMAT {
            return Err(OpenError::Format { path: path.to_owned(), found: owner.format, known: FORMAT });
        }
        if (owner.group, owner.agent) != (mine, me) {
            let Owner { group, agent, .. } = owner;
            return Err(OpenError::Foreign { path: path.to_owned(), agent, group, me, mine });
        }
        Ok(())
    }

    pub(super) fn load(&self) -> Result<Loaded, DiskError> {
        let txn = self.db.begin_read().map_err(redb::Error::from)?;
        let table = txn.open_table(LOG).map_err(redb::Error::from)?;
        let mut log = BTreeMap::new();
        for item in table.iter().map_err(redb::Error::from)? {
            let (index, bytes) = item.map_err(redb::Error::from)?;
            let (index, bytes) = (index.value(), bytes.value());
            log.insert(index, (from_json(&format!("entry {index}"), bytes)?, bytes.len()));
        }
        let snapshot = match (self.raw(SNAPSHOT_META)?, self.raw(SNAPSHOT_DATA)?) {
            (Some(meta), Some(data)) => Some(Saved { head: meta, data: data.into() }),
            _ => None,
        };
        Ok(Loaded {
            vote: self.meta(VOTE)?,
            purged: self.meta(PURGED)?,
            committed: self.meta(COMMITTED)?,
            log,
            snapshot,
        })
    }

    /// Takes all steps in one transaction; durable when it returns.
    pub(super) fn write<'a>(&self, steps: impl Iterator<Item = &'a Step>) -> Result<(), DiskError> {
        self.transact(steps).map_err(DiskError::from)
    }

    fn transact<'a>(&self, steps: impl Iterator<Item = &'a Step>) -> Result<(), redb::Error> {
        let txn = self.db.begin_write()?;
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
                }
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let put = || {
            let txn = self.db.begin_write()?;
            txn.open_table(META)?.insert(key, bytes)?;
            txn.commit()?;
            Ok::<_, redb::Error>(())
        };
        put().map_err(DiskError::from)
    }

    fn raw(&self, key: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let read = || {
            let table = self.db.begin_read()?.open_table(META)?;
            Ok::<_, redb::Error>(table.get(key)?.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(DiskError::from)
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DiskError> {
        self.raw(key)?.map(|bytes| from_json(key, &bytes)).transpose()
    }
}

/// Our own types always have a JSON form; an error here is a mistake in this program, and ends in a stop with its name.
pub(super) fn json<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, DiskError> {
    serde_json::to_vec(value).map_err(|source| DiskError::Format { what: what.to_owned(), source })
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, DiskError> {
    serde_json::from_slice(bytes).map_err(|source| DiskError::Format { what: what.to_owned(), source })
}
