//! The types that Raft carries. Everything is JSON in the log and between members, so that members of different
//! versions understand each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use warren_core::{
    id::AgentId,
    state::{Answer, Proposal},
};

openraft::declare_raft_types!(
    /// Raft over proposals.
    pub(crate) Types:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = Seat,
        SnapshotData = Bytes,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Seat>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Seat>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Seat>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type Fatal = openraft::error::Fatal<u64>;

/// A member as Raft's own membership records it: enough to reach it before its record is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) address: String,
    pub(crate) name: String,
    /// Number of its log; 0 when an older program seated it.
    #[serde(default)]
    pub(crate) log: u64,
}

/// What applying an entry came to; entries of Raft's own have no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied(pub(crate) Option<Answer>);

/// What the log calls an agent is its number. Numbers that are no id cannot come from an agent of ours.
pub(crate) fn agent(id: u64) -> Option<AgentId> {
    AgentId::from_number(id)
}

/// Who is in the group, read off a membership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    /// Every voter and learner.
    pub(crate) seats: BTreeMap<AgentId, Seat>,
    /// Whose votes count, while the voters change those of both sides.
    pub(crate) voters: BTreeSet<AgentId>,
    /// A change of voters has begun and not ended.
    pub(crate) joint: bool,
}

impl Roster {
    pub(crate) fn of(membership: &Arc<StoredMembership>) -> Self {
        let membership = membership.membership();
        Self {
            seats: membership.nodes().filter_map(|(id, seat)| Some((agent(*id)?, seat.clone()))).collect(),
            voters: membership.voter_ids().filter_map(agent).collect(),
            joint: membership.get_joint_config().len() > 1,
        }
    }

    /// Those that were voters before a change of the voters and will be after it.
    pub(crate) fn settled_voters(membership: &StoredMembership) -> BTreeSet<AgentId> {
        let sides = membership.membership().get_joint_config();
        let on_all = |id: &u64| sides.iter().all(|side| side.contains(id));
        membership.voter_ids().filter(on_all).filter_map(agent).collect()
    }

    pub(crate) fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}
