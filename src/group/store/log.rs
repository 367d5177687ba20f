//! Raft's log: in memory for reading, on disk through the writer.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{
    ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};

use tokio::sync::watch;
use tonic::Status;
use warren_core::state::Level;

use super::{
    disk::{DiskError, Loaded, Owner, Step, json},
    failed,
    writer::Writer,
};
use crate::{
    fence::{Mark, later_epoch},
    raft::{Entry, LogId, StorageError, Types, Vote},
};

/// Bytes of entries in one message to a follower, far below the cap of a message; one larger entry goes alone.
const MESSAGE_BYTES: usize = 4 << 20;

/// Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    memory: Arc<Mutex<Memory>>,
    /// Held while the owner is written.
    owning: Arc<tokio::sync::Mutex<()>>,
    /// A later epoch, once this member has heard of one.
    superseded: Arc<watch::Sender<Option<u64>>>,
    writer: Writer,
}

/// Never behind the disk: an entry is here before its append returns.
#[derive(Debug)]
struct Memory {
    entries: BTreeMap<u64, (Entry, usize)>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    owner: Owner,
}

impl Memory {
    fn is_used(&self) -> bool {
        self.purged.is_some() || !self.entries.is_empty()
    }
}

impl LogStore {
    pub(super) fn new(loaded: Loaded, owner: Owner, writer: Writer) -> Self {
        let Loaded { vote, purged, committed, log: entries, .. } = loaded;
        let memory = Memory { entries, purged, vote, committed, owner };
        let superseded = Arc::new(watch::Sender::new(None));
        Self { memory: Arc::new(Mutex::new(memory)), owning: Arc::default(), superseded, writer }
    }

    /// Whether this member has ever been part of a group.
    pub(crate) fn is_used(&self) -> bool {
        self.memory().is_used()
    }

    /// Which log this is; of epoch 0 until there is something in it.
    pub(crate) fn mark(&self) -> Mark {
        let memory = self.memory();
        let epoch = match memory.owner.epoch {
            0 => u64::from(memory.is_used()),
            recovered => recovered,
        };
        Mark { epoch, log: memory.owner.log }
    }

    /// Takes over the epoch of whoever sends the first entries; durable when it returns.
    pub(crate) async fn adopt(&self, epoch: u64) -> Result<(), Arc<DiskError>> {
        if epoch <= 1 || self.mark().epoch > 0 {
            return Ok(());
        }
        self.own(|owner| Owner { epoch, ..owner }).await?;
        tracing::info!(epoch, "the group was recovered before this member came");
        Ok(())
    }

    /// Writes down at which level the group works, so that no program that does not know it opens this log.
    pub(crate) async fn keep_level(&self, level: Level) -> Result<(), Arc<DiskError>> {
        if self.memory().owner.level >= level {
            return Ok(());
        }
        self.own(|owner| Owner { level, ..owner }).await
    }

    async fn own(&self, change: impl FnOnce(Owner) -> Owner) -> Result<(), Arc<DiskError>> {
        let _owning = self.owning.lock().await;
        let owner = change(self.memory().owner.clone());
        self.writer.durable(Step::Owner(owner.bytes().map_err(Arc::new)?)).await?;
        self.memory().owner = owner;
        Ok(())
    }

    /// Ends all writing: `what` a member of this group holds is not known here.
    pub(crate) async fn give_up(&self, what: &str, source: serde_json::Error) {
        let error = DiskError::Newer { what: what.to_owned(), source };
        // An error means that the writing has ended already.
        let _ = self.writer.give_up(Arc::new(error)).await;
    }

    /// Listens to a refusal: does it tell of a later epoch?
    pub(crate) fn heed(&self, refused: &Status) {
        if let Some(later) = later_epoch(refused, self.mark().epoch) {
            self.supersede(later);
        }
    }

    /// This member is out: there is a later epoch.
    pub(crate) fn supersede(&self, later: u64) {
        self.superseded.send_if_modified(|known| {
            let news = *known < Some(later);
            *known = (*known).max(Some(later));
            news
        });
    }

    pub(crate) fn superseded(&self) -> Option<u64> {
        *self.superseded.borrow()
    }

    pub(crate) fn watch_superseded(&self) -> watch::Receiver<Option<u64>> {
        self.superseded.subscribe()
    }

    /// Writes down that this member is out, so that it does not begin anew.
    pub(crate) async fn keep_superseded(&self) -> Result<(), Arc<DiskError>> {
        let superseded = self.superseded();
        self.own(|owner| Owner { superseded, ..owner }).await
    }

    /// The last entry, be it in the log or only in a snapshot.
    pub(crate) fn last(&self) -> Option<LogId> {
        let memory = self.memory();
        memory.entries.last_key_value().map(|(_, (entry, _))| entry.log_id).or(memory.purged)
    }

    /// Index of the last entry that is known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.memory().committed.map_or(0, |id| id.index)
    }

    /// How long the disk has worked on the write that it has at this moment.
    pub(crate) fn busy_for(&self) -> Duration {
        self.writer.busy_for()
    }

    /// Why nothing can be written at the moment, or any more.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.writer.trouble()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.memory().entries.range(range).map(|(_, (entry, _))| entry.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let (mut bytes, mut entries) = (0, Vec::new());
        for (_, (entry, length)) in self.memory().entries.range(start..end) {
            bytes += length;
            if bytes > MESSAGE_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let last_log_id = self.last();
        Ok(LogState { last_purged_log_id: self.memory().purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let told = |error| failed(ErrorSubject::Vote, ErrorVerb::Write, &error);
        let bytes = json("vote", vote).map_err(|e| told(Arc::new(e)))?;
        self.writer.durable(Step::Vote(bytes)).await.map_err(told)?;
        self.memory().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.memory().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.memory().committed = committed;
        let Some(log_id) = committed else { return Ok(()) };
        let told = |error| failed(ErrorSubject::Store, ErrorVerb::Write, &error);
        let bytes = json("committed", &log_id).map_err(|e| told(Arc::new(e)))?;
        self.writer.eventually(Step::Committed(bytes)).await.map_err(told)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let told = |error| failed(ErrorSubject::Logs, ErrorVerb::Write, &error);
        let mut bytes = Vec::new();
        let mut read = Vec::new();
        for entry in entries {
            let encoded = json("entry", &entry).map_err(|e| told(Arc::new(e)))?;
            read.push((entry.log_id.index, (entry, encoded.len())));
            bytes.push(encoded);
        }
        let written = read.iter().map(|(index, _)| *index).zip(bytes).collect();
        self.memory().entries.extend(read);
        self.writer.append(Step::Append(written), callback).await.map_err(told)
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.memory().entries.split_off(&log_id.index);
        let told = |error: Arc<DiskError>| failed(ErrorSubject::Log(log_id), ErrorVerb::Delete, &error);
        self.writer.durable(Step::Truncate(log_id.index)).await.map_err(told)
    }

    /// Raft asks for this while the snapshot that takes the place of the entries may still be on its way to the disk.
    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let told = |error| failed(ErrorSubject::Log(log_id), ErrorVerb::Delete, &error);
        self.writer.covered(log_id.index).await.map_err(told)?;
        {
            let mut memory = self.memory();
            memory.purged = Some(log_id);
            memory.entries = memory.entries.split_off(&(log_id.index + 1));
        }
        let bytes = json("purged", &log_id).map_err(|e| told(Arc::new(e)))?;
        self.writer.durable(Step::Purge { index: log_id.index, log_id: bytes }).await.map_err(told)
    }
}
