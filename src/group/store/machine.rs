//! The state machine: the group's state in memory, rebuilt from the last snapshot and the log at each start.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine,
};
use tokio::sync::watch;
use warren_core::state::GroupState;

use super::{
    disk::{DiskError, Step},
    failed,
    snapshot::{Checked, read_state},
    writer::Writer,
};
use crate::raft::{Applied, Entry, LogId, Snapshot, SnapshotMeta, StorageError, StoredMembership, Types};

/// The state as of the last applied entry. Readers take the `Arc`; a writer that finds it shared copies it first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current {
    pub(crate) state: Arc<GroupState>,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Arc<StoredMembership>,
}

/// Cheap to clone; all clones are one machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    current: Arc<watch::Sender<Current>>,
    snapshot: Arc<Mutex<Option<Checked>>>,
    writer: Writer,
}

impl Machine {
    pub(super) fn new(snapshot: Option<Checked>, writer: Writer) -> Self {
        let current = snapshot.as_ref().map_or_else(Current::default, |saved| Current {
            state: saved.state.clone(),
            applied: saved.meta.last_log_id,
            membership: Arc::new(saved.meta.last_membership.clone()),
        });
        let snapshot = Arc::new(Mutex::new(snapshot));
        Self { current: Arc::new(watch::Sender::new(current)), snapshot, writer }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// Makes `taken` durable and the one to offer, unless a newer one came meanwhile.
    async fn keep(&self, taken: Checked) -> Result<(), Arc<DiskError>> {
        let saved = taken.saved().map_err(Arc::new)?;
        self.writer.durable(Step::Snapshot(saved, taken.index())).await?;
        let mut kept = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.index() <= taken.index()) {
            *kept = Some(taken);
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let current = self.current.borrow();
        Ok((current.applied, current.membership.as_ref().clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        self.current.send_modify(|current| {
            for entry in entries {
                current.applied = Some(entry.log_id);
                answers.push(match entry.payload {
                    EntryPayload::Blank => Applied(None),
                    EntryPayload::Normal(proposal) => {
                        Applied(Some(Arc::make_mut(&mut current.state).apply(&proposal)))
                    }
                    EntryPayload::Membership(membership) => {
                        current.membership = Arc::new(StoredMembership::new(Some(entry.log_id), membership));
                        Applied(None)
                    }
                });
            }
        });
        Ok(answers)
    }

    /// The builder gets the state as it is here; applying goes on while it works.
    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone(), current: self.current.borrow().clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Box<Bytes>) -> Result<(), StorageError> {
        let told = |error| failed(ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Write, &error);
        let state = match read_state(&data).map_err(Arc::new) {
            Ok(state) => Arc::new(state),
            Err(error) => {
                // Raft waits for this snapshot already, before it purges.
                self.writer.give_up(error.clone()).await.map_err(told)?;
                return Err(told(error));
            }
        };
        let installed = Checked { meta: meta.clone(), state: state.clone(), data: *data };
        self.keep(installed).await.map_err(told)?;
        self.current.send_replace(Current {
            state,
            applied: meta.last_log_id,
            membership: Arc::new(meta.last_membership.clone()),
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let kept = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.as_ref().map(Checked::offer))
    }
}

/// Takes one snapshot.
#[derive(Debug)]
pub(crate) struct Builder {
    machine: Machine,
    current: Current,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let told = |error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error);
        let Current { state, applied, membership } = &self.current;
        let taken = Checked::take(state, *applied, membership).map_err(|e| told(Arc::new(e)))?;
        let offer = taken.offer();
        self.machine.keep(taken).await.map_err(told)?;
        Ok(offer)
    }
}
