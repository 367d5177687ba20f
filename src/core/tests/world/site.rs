//! The group's log, as the members of one site keep it.
//!
//! How Raft agrees is not played here, only what it promises: there is one log, an entry is in it once a leader in touch
//! with a majority took it, a member applies entries in order and some time later. What is in the entries, and what they
//! come to, is core's.

use std::sync::Arc;

use warren_core::state::{Answer, Command, GroupState, Proposal, RequestId};

use super::queue::Ms;

/// A group without a leader has one after so long.
const ELECTION: Ms = 900;

#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) log: Vec<Proposal>,
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    leaderless_since: Option<Ms>,
    /// What the leader has after each entry, for those that apply later.
    states: Vec<Arc<GroupState>>,
}

impl Site {
    /// Keeps a leader that has a majority, or elects one in time. `can_lead` are those that reach a majority.
    pub(crate) fn elect(&mut self, can_lead: &[usize], now: Ms) -> bool {
        if self.leader.is_some_and(|leader| can_lead.contains(&leader)) {
            return false;
        }
        self.leader = None;
        let since = *self.leaderless_since.get_or_insert(now);
        let Some(next) = can_lead.first().filter(|_| now >= since + ELECTION) else { return false };
        (self.leader, self.leaderless_since) = (Some(*next), None);
        self.term += 1;
        true
    }

    /// The leader takes a proposal, and answers.
    pub(crate) fn append(&mut self, request: u128, author: &str, at_ms: u64, command: Command) -> Answer {
        let proposal = Proposal { request: RequestId(request), author: author.to_owned(), at_ms, command };
        let mut state = self.newest().as_ref().clone();
        let answer = state.apply(&proposal);
        self.log.push(proposal);
        self.states.push(Arc::new(state));
        answer
    }

    /// The group as of the whole log.
    pub(crate) fn newest(&self) -> Arc<GroupState> {
        self.states.last().cloned().unwrap_or_default()
    }

    /// The group as of so many entries.
    pub(crate) fn at(&self, applied: usize) -> Arc<GroupState> {
        applied.checked_sub(1).map(|last| self.states[last].clone()).unwrap_or_default()
    }
}
