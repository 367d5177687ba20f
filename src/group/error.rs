//! Why a group could not do what it was asked, told so that a person knows what to do next.

use std::{io, path::PathBuf};

use thiserror::Error;
use warren_core::id::{AgentId, GroupId};

/// Why a member could not open its log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("cannot use the folder {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} is open in another process: stop it, or give this agent its own data folder", path.display())]
    InUse { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Disk { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "{} is damaged, nothing of it can be trusted: stop this agent, move its data folder away and enrol it again with a \
         new token; it gets a new id, and the log from the other members",
        path.display()
    )]
    Damaged { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "{} holds what this program does not know: a newer one has written to it, start that again",
        path.display()
    )]
    Newer { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("there is no group's log at {}: its agent has never been a member", path.display())]
    NoLog { path: PathBuf },
    #[error(
        "{} is of epoch {epoch}, its group was recovered without this agent in epoch {newer}: move the data folder away and \
         enrol this agent again with a new token; it gets a new id",
        path.display()
    )]
    Superseded { path: PathBuf, epoch: u64, newer: u64 },
    #[error(
        "{} belongs to {agent} of {group}, not to {me} of {mine}: give this agent its own data folder",
        path.display()
    )]
    Foreign { path: PathBuf, agent: AgentId, group: GroupId, me: AgentId, mine: GroupId },
    #[error("{} has format {found}, this program reads {known}: use the newer program", path.display())]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error("cannot start the log")]
    Start { source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why a proposal got no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Too few voters are in touch. `sent` tells that the proposal had reached the leader's log: it may still be
    /// applied when a quorum returns, and the same request id is safe.
    #[error(
        "no quorum: {in_touch} of {voters} voters in touch; edits need {}; sessions go on; bring members back{}",
        voters / 2 + 1,
        if *sent { " (this edit may still be applied when they return; asking again with its request id is safe)" }
        else { "" }
    )]
    NoQuorum { voters: usize, in_touch: usize, sent: bool },
    #[error("the group has no leader at the moment: ask again in a second")]
    NoLeader,
    #[error(
        "no answer in time: the edit may still be applied; asking again with the same request id is safe"
    )]
    Timeout,
    #[error("this member has not joined its group yet")]
    NotReady,
    #[error("too many proposals at once: ask again in a second")]
    Busy,
    #[error("removing it would leave {in_touch} of {voters} voters in touch: bring another member up first")]
    WouldLoseQuorum { voters: usize, in_touch: usize },
    #[error("this member has stopped: {0}")]
    Stopped(String),
    #[error(
        "the leader {leader} did not answer: {reason}; the edit may still be applied, asking again with the same request \
         id is safe"
    )]
    Transport { leader: AgentId, reason: String },
}

impl ProposeError {
    /// A word for metrics and for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoQuorum { .. } => "no_quorum",
            Self::NoLeader => "no_leader",
            Self::Timeout => "timeout",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::WouldLoseQuorum { .. } => "would_lose_quorum",
            Self::Stopped(_) => "stopped",
            Self::Transport { .. } => "transport",
        }
    }

    /// Whether it may have reached a log that counts.
    pub const fn may_still_be_applied(&self) -> bool {
        match self {
            Self::NoQuorum { sent, .. } => *sent,
            // What a member had appended when it stopped may have reached the others.
            Self::Timeout | Self::Transport { .. } | Self::Stopped(_) => true,
            Self::NoLeader | Self::NotReady | Self::Busy | Self::WouldLoseQuorum { .. } => false,
        }
    }
}

/// Why an agent is not a member of its group (yet).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    #[error("no member to join through: name at least one")]
    NoPeers,
    #[error("{peer} refused: {reason}")]
    Refused { peer: AgentId, reason: String },
    #[error("no member let this agent join in time; the last said: {last}")]
    Timeout { last: String },
    #[error("this agent's log belongs to a group already: it cannot found another")]
    AlreadyMember,
    #[error("this member has stopped: {0}")]
    Stopped(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_quorum_is_told_with_its_remedy() {
        let error = ProposeError::NoQuorum { voters: 3, in_touch: 1, sent: false };
        assert_eq!(
            error.to_string(),
            "no quorum: 1 of 3 voters in touch; edits need 2; sessions go on; bring members back"
        );
        assert_eq!(error.reason(), "no_quorum");
        assert!(!error.may_still_be_applied());
    }

    #[test]
    fn what_may_still_be_applied_says_so() {
        let agent = AgentId::from_random(1);
        let unsure = [
            ProposeError::NoQuorum { voters: 3, in_touch: 1, sent: true },
            ProposeError::Timeout,
            ProposeError::Transport { leader: agent, reason: "it fell silent".to_owned() },
        ];
        for error in unsure {
            assert!(
                error.may_still_be_applied() && error.to_string().contains("may still be applied"),
                "{error}"
            );
        }
    }
}
