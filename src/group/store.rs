//! The member's memory: log, vote and snapshot on disk in one redb file, the state machine in memory.
//!
//! ```text
//!  LogStore ──┐                            one thread
//!             ├─▶ Writer ─queue─▶ [ step step step ] ─▶ one transaction, one fsync ─▶ callbacks
//!  Machine  ──┘     bounded
//! ```
//! Votes, appends, truncations, purges and snapshots go through one queue in the order they were asked for; whoever
//! asked hears of it only after the fsync.
//!
//! A disk that is full makes everybody wait: the same transaction is tried again until there is space, and meanwhile the
//! member takes no part. Any other failed write ends all writing: what is on disk is then unknown, and going on could
//! forget a vote.

mod backend;
mod disk;
mod log;
mod machine;
mod offline;
mod place;
mod snapshot;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{AnyError, ErrorSubject, ErrorVerb, StorageIOError};
use warren_core::id::{AgentId, GroupId};

#[cfg(test)]
pub(crate) use self::crash::Fragile;
use self::disk::Disk;
pub(crate) use self::{
    log::LogStore,
    machine::{Current, Machine},
    offline::{Offline, Remains},
    snapshot::sha256,
    writer::Writer,
};
use crate::{error::OpenError, raft::StorageError};

/// Name of the file in the data folder.
pub(crate) const FILE: &str = "group.redb";

/// What [`open`] read.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: LogStore,
    pub(crate) machine: Machine,
    pub(crate) writer: Writer,
}

/// Opens the file, or makes it. Blocks on the disk.
pub(crate) fn open(dir: &Path, group: GroupId, me: AgentId) -> Result<Store, OpenError> {
    let path = dir.join(FILE);
    let disk = Disk::open(dir, &path)?;
    read(disk, path, group, me, Writer::spawn)
}

/// On a disk in memory, and without a thread: for simulated clocks, which real ones would confuse.
#[cfg(test)]
pub(crate) fn in_memory(file: Fragile, group: GroupId, me: AgentId) -> Result<Store, OpenError> {
    let path = PathBuf::from("memory");
    let disk = Disk::on(file).map_err(|error| disk::unreadable(&path, error))?;
    read(disk, path, group, me, Writer::here)
}

fn read(
    mut disk: Disk,
    path: PathBuf,
    group: GroupId,
    me: AgentId,
    start: impl FnOnce(Disk, Option<u64>) -> io::Result<Writer>,
) -> Result<Store, OpenError> {
    let unreadable = |error| disk::unreadable(&path, error);
    let owner = disk.claim(&path, group, me)?;
    if let Some(newer) = owner.superseded {
        return Err(OpenError::Superseded { path, epoch: owner.epoch.max(1), newer });
    }
    let mut loaded = disk.load().map_err(unreadable)?;
    let snapshot = loaded.snapshot.take();
    let snapshot_index = snapshot.as_ref().and_then(snapshot::Checked::index);
    let writer =
        start(disk, snapshot_index).map_err(|source| OpenError::Start { source: Box::new(source) })?;
    Ok(Store {
        log: LogStore::new(loaded, owner, writer.clone()),
        machine: Machine::new(snapshot, writer.clone()),
        writer,
    })
}

/// Removes the file, if it is there.
pub(crate) fn forget(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What Raft stops for, told as it wants to be told.
fn failed(subject: ErrorSubject<u64>, verb: ErrorVerb, error: &Arc<disk::DiskError>) -> StorageError {
    StorageIOError::new(subject, verb, AnyError::new(error.as_ref())).into()
}

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod bounded;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod tests;
