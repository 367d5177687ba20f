//! One member's view of its group: the replicated state, and what it knows of the log that replicates it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{id::AgentId, state::GroupState};

/// A member's part in the group's Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Voter,
    /// Follows the log without a vote: still catching up, or beyond the fifth voter.
    Learner,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// A snapshot for readers; may be stale, and says how far it has come.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Whose view it is.
    pub me: AgentId,
    /// How often the group was founded or recovered; 0 before this member has a log.
    pub epoch: u64,
    pub state: Arc<GroupState>,
    /// Leader that this member knows of.
    pub leader: Option<AgentId>,
    pub term: u64,
    /// Whether a majority of the voters is in touch, as far as this member can tell: a leader by its
    /// acknowledgements, a follower by hearing from the leader.
    pub quorum: bool,
    pub roles: BTreeMap<AgentId, Role>,
    /// Index of the last entry in this member's log.
    pub last_log: u64,
    /// Index of the last entry that this member knows to be committed.
    pub committed: u64,
    /// Index of the last entry that this member has applied.
    pub applied: u64,
    /// Why this member takes no part in its group, empty while it does.
    pub trouble: Arc<str>,
}

impl GroupView {
    pub fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }
}
