//! A snapshot: Raft's description of it and the group's state as JSON, under one digest.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use warren_core::state::GroupState;

use super::disk::{DiskError, from_json, json};
use crate::raft::{LogId, Snapshot, SnapshotMeta, StoredMembership};

/// A snapshot as it lies on disk.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    /// JSON of [`Head`].
    pub(super) head: Vec<u8>,
    pub(super) data: Bytes,
}

/// A snapshot whose digest was right and whose state could be read.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) meta: SnapshotMeta,
    pub(super) state: Arc<GroupState>,
    pub(super) data: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    meta: SnapshotMeta,
    sha256: Vec<u8>,
}

impl Saved {
    pub(super) fn new(meta: &SnapshotMeta, data: Bytes) -> Result<Self, DiskError> {
        let head = Head { meta: meta.clone(), sha256: sha256(&data) };
        Ok(Self { head: json("snapshot", &head)?, data })
    }

    pub(super) fn check(self) -> Result<Checked, DiskError> {
        let head: Head = from_json("snapshot", &self.head)?;
        if head.sha256 != sha256(&self.data) {
            return Err(DiskError::Digest);
        }
        Ok(Checked { meta: head.meta, state: Arc::new(read_state(&self.data)?), data: self.data })
    }
}

impl Checked {
    /// Takes a snapshot of `state` as of `applied`.
    pub(super) fn take(
        state: &Arc<GroupState>,
        applied: Option<LogId>,
        membership: &StoredMembership,
    ) -> Result<Self, DiskError> {
        let snapshot_id =
            applied.map_or_else(|| "empty".to_owned(), |id| format!("{}-{}", id.leader_id, id.index));
        let meta = SnapshotMeta { last_log_id: applied, last_membership: membership.clone(), snapshot_id };
        Ok(Self { meta, state: state.clone(), data: json("state", state.as_ref())?.into() })
    }

    /// Index of the last entry in it.
    pub(super) fn index(&self) -> Option<u64> {
        self.meta.last_log_id.map(|id| id.index)
    }

    pub(super) fn saved(&self) -> Result<Saved, DiskError> {
        Saved::new(&self.meta, self.data.clone())
    }

    pub(super) fn offer(&self) -> Snapshot {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(self.data.clone()) }
    }
}

pub(super) fn read_state(data: &[u8]) -> Result<GroupState, DiskError> {
    from_json("state", data)
}

pub(crate) fn sha256(data: &[u8]) -> Vec<u8> {
    digest(&SHA256, data).as_ref().to_vec()
}
