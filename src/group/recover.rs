//! Making one survivor the whole group, when the majority is gone for good. Done on the disk of a member whose agent is
//! stopped, in one transaction: before it nothing has changed, after it all has.
//!
//! The survivor keeps all that its log holds, also what nobody knew to be decided. Behind it come: itself as the only
//! voter, and that each other member has left for good. The epoch rises, and so nobody of the earlier one is heard again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use tokio::time::timeout;
use tonic::Request;
use warren_core::{
    id::{AgentId, GroupId},
    state::{Command, GroupState, Proposal, RequestId},
};
use warren_wire::v1::{self, peer_client::PeerClient};

use crate::{
    error::OpenError,
    options::PeerDialer,
    raft::{Entry, LogId, Roster, Seat, Vote},
    store::{Offline, Remains},
};

/// Who decided, as history and audit name it.
const AUTHOR: &str = "warren recover";

/// What a survivor's disk tells, and what a recovery would make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub group: GroupId,
    pub me: AgentId,
    pub epoch: u64,
    /// The epoch after the recovery.
    pub next_epoch: u64,
    /// Nothing is to be done: this member is the only voter as it is.
    pub alone: bool,
    /// Whether this member had a vote.
    pub voter: bool,
    /// The group was recovered without this member, which is of this later epoch.
    pub superseded: Option<u64>,
    /// Everybody that the log knows, this member among them.
    pub members: Vec<Known>,
    /// Revision of the config with all that the log holds.
    pub revision: u64,
    pub term: u64,
    /// Index of the last entry; of two survivors of one term the one that has more of them knows more.
    pub last_log: u64,
    /// Index of the last entry that this member knew to be decided.
    pub committed: u64,
}

/// A member by the survivor's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub agent: AgentId,
    pub name: String,
    /// Where it was reached, `host:port`.
    pub address: String,
    pub voter: bool,
}

impl Recovery {
    /// How many voters must work together for the group to decide.
    pub fn majority(&self) -> usize {
        self.members.iter().filter(|member| member.voter).count() / 2 + 1
    }
}

/// The log of a member whose agent is stopped. Nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Survivor {
    path: PathBuf,
    disk: Offline,
    remains: Remains,
    seats: BTreeMap<AgentId, Seat>,
    recovery: Recovery,
}

impl Survivor {
    /// Opens the log in an agent's data folder. Blocks on the disk.
    pub fn open(dir: &Path, group: GroupId, me: AgentId) -> Result<Self, OpenError> {
        let (path, disk, remains) = Offline::open(dir, group, me)?;
        let (recovery, seats) = read(group, me, &remains);
        Ok(Self { path, disk, remains, seats, recovery })
    }

    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Which other voters answer a call at this moment, asked all at once.
    pub async fn answering(&self, dialer: &dyn PeerDialer, within: Duration) -> Vec<AgentId> {
        let Recovery { group, me, .. } = self.recovery;
        let others = self.recovery.members.iter().filter(|member| member.voter && member.agent != me);
        let asked = others.map(|other| async move {
            let mut client = PeerClient::new(dialer.channel(other.agent, &other.address));
            let envelope = v1::Envelope {
                group: group.to_string(),
                from: me.to_string(),
                to: other.agent.to_string(),
                epoch: self.recovery.epoch,
                from_log: self.remains.mark.log,
                to_log: self.seats.get(&other.agent).map_or(0, |seat| seat.log),
            };
            let ping = client.ping(Request::new(v1::PingRequest { envelope: Some(envelope) }));
            matches!(timeout(within, ping).await, Ok(Ok(_))).then_some(other.agent)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Makes this member the whole group. `draw` gives random numbers.
    pub fn recover(mut self, at_ms: u64, draw: impl FnMut() -> u128) -> Result<Recovery, OpenError> {
        if !self.recovery.alone {
            let (vote, entries) = successors(&self.recovery, &self.seats, at_ms, draw);
            self.disk.succeed(&self.path, self.recovery.next_epoch, vote, &entries)?;
        }
        Ok(self.recovery)
    }
}

/// What the log comes to with everything in it.
fn read(group: GroupId, me: AgentId, remains: &Remains) -> (Recovery, BTreeMap<AgentId, Seat>) {
    let (mut state, mut membership) = (GroupState::clone(&remains.state), remains.membership.clone());
    for entry in remains.log.values() {
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(proposal) => drop(state.apply(proposal)),
            EntryPayload::Membership(newer) => {
                membership = openraft::StoredMembership::new(Some(entry.log_id), newer.clone());
            }
        }
    }
    let roster = Roster::of(&membership.into());
    let voters = &roster.voters;
    let everybody: BTreeSet<AgentId> =
        roster.seats.keys().chain(state.members.keys()).chain([&me]).copied().collect();
    let members = everybody.into_iter().map(|agent| {
        let (seat, record) = (roster.seats.get(&agent), state.members.get(&agent));
        let name = record.map(|record| &record.name).or(seat.map(|seat| &seat.name));
        let address = seat.map(|seat| &seat.address).or(record.map(|record| &record.peer_address));
        Known {
            agent,
            name: name.cloned().unwrap_or_default(),
            address: address.cloned().unwrap_or_default(),
            voter: voters.contains(&agent),
        }
    });
    let last = remains.last;
    let recovery = Recovery {
        group,
        me,
        epoch: remains.mark.epoch,
        next_epoch: remains.mark.after(remains.superseded),
        alone: voters.iter().eq([&me]) && !roster.joint && remains.superseded.is_none(),
        voter: voters.contains(&me),
        superseded: remains.superseded,
        members: members.collect(),
        revision: state.revision,
        term: remains.vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term),
        last_log: last.index,
        committed: remains.committed,
    };
    (recovery, roster.seats)
}

/// What comes behind the log's last entry, and the vote under which it does.
fn successors(
    recovery: &Recovery,
    seats: &BTreeMap<AgentId, Seat>,
    at_ms: u64,
    mut draw: impl FnMut() -> u128,
) -> (Vote, Vec<Entry>) {
    let me = recovery.me.number();
    let leader = CommittedLeaderId::new(recovery.term + 1, me);
    let seat = seats.get(&recovery.me).cloned().unwrap_or_default();
    let alone = Membership::new(vec![[me].into()], BTreeMap::from([(me, seat)]));
    let others = recovery.members.iter().filter(|member| member.agent != recovery.me);
    let leaving = others.map(|other| {
        let (request, command) = (RequestId(draw()), Command::Leave { member: other.agent });
        EntryPayload::Normal(Proposal { request, author: AUTHOR.to_owned(), at_ms, command })
    });
    let payloads = std::iter::once(EntryPayload::Membership(alone)).chain(leaving);
    let entries = (recovery.last_log + 1..).zip(payloads);
    let entries = entries.map(|(index, payload)| Entry { log_id: LogId::new(leader, index), payload });
    (Vote::new(recovery.term + 1, me), entries.collect())
}
