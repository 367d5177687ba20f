//! What is known of one session.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use warren_core::{
    balance::{CandidateRecord, Rule},
    id::{AgentId, GroupId, Name},
};

use super::Outcome;

/// What is known of one session.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// Unique for the life of the gateway process.
    pub id: u64,
    pub group: GroupId,
    pub resource: Name,
    pub caller: SocketAddr,
    /// Who carries it, or was tried last; `None` when nobody was there to try.
    pub member: Option<AgentId>,
    /// Its name in the group; of a session that was passed on, the gateway that carries it.
    pub member_name: String,
    /// When its caller came.
    pub opened: SystemTime,
    /// `None` while it is open.
    pub closed: Option<SystemTime>,
    /// From the caller to the target.
    pub bytes_up: u64,
    /// From the target to the caller.
    pub bytes_down: u64,
    pub outcome: Outcome,
    /// More on the outcome, for people.
    pub detail: String,
    /// In order; the last is the one that counts.
    pub attempts: Vec<Attempt>,
    /// Goes along to the target's side.
    pub trace: [u8; 16],
}

/// One try to open a session on a member.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub candidates: Vec<CandidateRecord>,
    pub chosen: AgentId,
    pub rule: Rule,
    /// `ok`, or the typed result of the open.
    pub result: &'static str,
    /// It began so long after the caller had come.
    pub after: Duration,
    pub took: Duration,
    /// What the session is called in the member's tunnels; `None` when there was no tunnel to ask on.
    pub number: Option<u64>,
}
