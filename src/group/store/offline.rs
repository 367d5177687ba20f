//! The file of a member whose agent is stopped, for [recovery](crate::recover).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use warren_core::{
    id::{AgentId, GroupId},
    state::GroupState,
};

use super::{
    FILE,
    disk::{self, Disk, DiskError, Owner, Step, json},
};
use crate::{
    error::OpenError,
    fence::Mark,
    raft::{Entry, LogId, StoredMembership, Vote},
};

/// Holds the file, and so keeps an agent from starting on it.
#[derive(Debug)]
pub(crate) struct Offline {
    disk: Disk,
    owner: Owner,
    /// The end of a snapshot that is ahead of the log.
    ahead: Option<LogId>,
}

/// What the file tells of the group.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) mark: Mark,
    pub(crate) superseded: Option<u64>,
    /// As of the last snapshot.
    pub(crate) state: Arc<GroupState>,
    pub(crate) membership: StoredMembership,
    /// What came after the snapshot.
    pub(crate) log: BTreeMap<u64, Entry>,
    pub(crate) last: LogId,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: u64,
}

impl Offline {
    pub(crate) fn open(
        dir: &Path,
        group: GroupId,
        me: AgentId,
    ) -> Result<(PathBuf, Self, Remains), OpenError> {
        let path = dir.join(FILE);
        let unreadable = |error| disk::unreadable(&path, error);
        if !path.exists() {
            return Err(OpenError::NoLog { path });
        }
        let mut disk = Disk::open(dir, &path)?;
        let owner = disk.claim(&path, group, me)?;
        let mut loaded = disk.load().map_err(unreadable)?;
        let snapshot = loaded.snapshot;
        let snapshot_at = snapshot.as_ref().and_then(|snapshot| snapshot.meta.last_log_id);
        let last = loaded.log.last_key_value().map(|(_, (entry, _))| entry.log_id).max(loaded.purged);
        let ahead = snapshot_at.filter(|_| snapshot_at > last);
        let Some(last) = last.max(snapshot_at) else {
            return Err(OpenError::NoLog { path });
        };
        let log = loaded.log.split_off(&snapshot_at.map_or(0, |id| id.index + 1));
        let (state, membership) =
            snapshot.map(|snapshot| (snapshot.state, snapshot.meta.last_membership)).unwrap_or_default();
        let remains = Remains {
            mark: Mark { epoch: owner.epoch.max(1), log: owner.log },
            superseded: owner.superseded,
            state,
            membership,
            log: log.into_iter().map(|(index, (entry, _))| (index, entry)).collect(),
            last,
            vote: loaded.vote,
            committed: loaded.committed.max(snapshot_at).map_or(0, |id| id.index),
        };
        Ok((path, Self { disk, owner, ahead }, remains))
    }

    /// Appends `entries`, decided as they are, under another vote and epoch: all of it or nothing.
    pub(crate) fn succeed(
        &mut self,
        path: &Path,
        epoch: u64,
        vote: Vote,
        entries: &[Entry],
    ) -> Result<(), OpenError> {
        let owner = Owner { epoch, superseded: None, ..self.owner.clone() };
        let steps = || {
            let written = entries.iter().map(|entry| Ok((entry.log_id.index, json("entry", entry)?)));
            let mut steps = vec![
                Step::Vote(json("vote", &vote)?),
                Step::Append(written.collect::<Result<_, DiskError>>()?),
                Step::Owner(owner.bytes()?),
            ];
            if let Some(end) = self.ahead {
                // Between the log's last entry and the first of these would be a gap.
                steps.insert(0, Step::Purge { index: end.index, log_id: json("purged", &end)? });
            }
            if let Some(last) = entries.last() {
                steps.push(Step::Committed(json("committed", &last.log_id)?));
            }
            Ok(steps)
        };
        let written = steps().and_then(|steps| self.disk.write(steps.iter()));
        written.map_err(|error| disk::unreadable(path, error))?;
        self.owner = owner;
        Ok(())
    }
}
