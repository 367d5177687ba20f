//! One member's view of its group: the replicated state, and what it knows of the log that replicates it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    /// Other members that it hears at this moment.
    pub hears: BTreeSet<AgentId>,
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
    /// Of a member that is in touch with nobody yet.
    pub fn new(me: AgentId, state: Arc<GroupState>) -> Self {
        Self {
            me,
            epoch: 0,
            state,
            leader: None,
            term: 0,
            quorum: false,
            roles: BTreeMap::new(),
            hears: BTreeSet::new(),
            last_log: 0,
            committed: 0,
            applied: 0,
            trouble: "".into(),
        }
    }

    pub fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }
}

/// What a member's word on its group is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// How often the group was founded or recovered.
    pub epoch: u64,
    /// It is in touch with a majority.
    pub quorum: bool,
    pub applied: u64,
    pub term: u64,
}

impl Word {
    /// Whose word to take: of those of the latest epoch, whoever is in touch with a majority knows best, then whoever has
    /// applied most. Gives the index.
    pub fn best(said: impl Iterator<Item = Self>) -> Option<usize> {
        let worth = |word: &Self| (word.epoch, word.quorum, word.applied, word.term);
        said.enumerate().max_by_key(|(_, word)| worth(word)).map(|(index, _)| index)
    }

    /// Whether it may take the place of what was `known`. An epoch has one log, so whoever has applied less knows nothing
    /// newer: what people took out must not come back because those who heard of it are gone.
    pub const fn supersedes(self, known: Self) -> bool {
        self.epoch > known.epoch || self.epoch == known.epoch && self.applied >= known.applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Word = Word { epoch: 1, quorum: true, applied: 9, term: 2 };

    #[test]
    fn the_best_informed_is_in_touch_with_a_majority() {
        let cut_off = Word { quorum: false, applied: 99, term: 40, ..KNOWN };
        let behind = Word { applied: 8, ..KNOWN };
        let recovered = Word { epoch: 2, quorum: false, applied: 1, term: 1 };
        assert_eq!(Word::best([cut_off, behind, KNOWN].into_iter()), Some(2));
        assert_eq!(Word::best([behind, cut_off].into_iter()), Some(0));
        assert_eq!(Word::best([KNOWN, recovered].into_iter()), Some(1));
        assert_eq!(Word::best(std::iter::empty()), None);
    }

    #[test]
    fn what_is_known_is_not_forgotten() {
        let table = [
            (Word { applied: 10, ..KNOWN }, true),
            (Word { quorum: false, ..KNOWN }, true),
            (Word { applied: 8, ..KNOWN }, false),
            (Word { applied: 8, term: 3, ..KNOWN }, false),
            (Word { epoch: 2, applied: 8, ..KNOWN }, true),
            (Word { epoch: 0, applied: 10, ..KNOWN }, false),
        ];
        for (said, expected) in table {
            assert_eq!(said.supersedes(KNOWN), expected, "{said:?}");
        }
    }
}
