//! Changes of the membership, made by the leader: a member comes, moves, is promoted, leaves.
//!
//! Two things belong together: Raft's membership (who counts) and the replicated record (how people see it). Who comes
//! is seated first and recorded second; who leaves is struck from the records (and barred) first and unseated second.
//! Both happen under one lock; should the leader die in between, the next one's duties go on from there. So every record
//! has a seat, and nobody is barred but by the one command that a person gave.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openraft::ChangeMembers;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout, timeout_at},
};
use warren_core::{
    id::AgentId,
    state::{Accepted, Answer, Command, Level, Proposal, Refusal, RequestId},
};

use crate::{
    error::ProposeError,
    member::Member,
    propose::{Denied, denied, while_leading, write, write_own},
    raft::{Roster, Seat},
};

/// How long a change of voters may take.
pub(crate) const CHANGE_DEADLINE: Duration = Duration::from_secs(5);

/// Who comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newcomer {
    pub(crate) agent: AgentId,
    pub(crate) seat: Seat,
    pub(crate) version: String,
    /// What its program knows.
    pub(crate) level: Level,
}

/// Makes an agent a member, or writes down what has changed about one. Does nothing when nothing has. Refused to one
/// that left for good.
pub(crate) async fn admit(
    member: &Arc<Member>,
    newcomer: &Newcomer,
    deadline: Instant,
) -> Result<Result<Roster, Refusal>, Denied> {
    let _changing = lock(member, deadline).await?;
    let Newcomer { agent, seat, version, level: known } = newcomer;
    if member.state().departed.contains(agent) {
        return Ok(Err(Refusal::Departed(*agent)));
    }
    // Under the lock: the level is not raised meanwhile.
    let level = member.state().level;
    if *known < level {
        return Ok(Err(Refusal::Outdated { known: *known, level }));
    }
    let known = member.roster().seats.remove(agent);
    let mut seat = seat.clone();
    if let (0, Some(known)) = (seat.log, &known) {
        // An older program does not say.
        seat.log = known.log;
    }
    let seats = [(agent.number(), seat.clone())].into();
    match known {
        Some(known) if known == seat => {}
        Some(_) => {
            tracing::info!(%agent, address = seat.address, "member moves");
            commit(member, ChangeMembers::SetNodes(seats), deadline).await?;
        }
        None => {
            tracing::info!(%agent, name = seat.name, address = seat.address, "member comes as a learner");
            commit(member, ChangeMembers::AddNodes(seats), deadline).await?;
        }
    }
    let state = member.state();
    let recorded = state.members.get(agent).is_some_and(|record| {
        record.name == seat.name && record.peer_address == seat.address && record.version == *version
    });
    if !recorded && let Err(refusal) = record(member, newcomer, deadline).await? {
        // A new leader may not have applied all that it leads by: its duties take the seat away again.
        return Ok(Err(refusal));
    }
    Ok(Ok(member.roster()))
}

/// Writes the record of a member.
pub(crate) async fn record(
    member: &Arc<Member>,
    newcomer: &Newcomer,
    deadline: Instant,
) -> Result<Answer, Denied> {
    let Newcomer { agent, seat, version, .. } = newcomer.clone();
    let command = Command::Join { member: agent, name: seat.name, peer_address: seat.address, version };
    write_own(member, command, deadline).await
}

/// Takes an agent out for good, also one that has not come yet. `author` is who wants it.
pub(crate) async fn remove(
    member: &Arc<Member>,
    request: RequestId,
    author: &str,
    leaver: AgentId,
    deadline: Instant,
) -> Result<Answer, Denied> {
    let _changing = lock(member, deadline).await?;
    let roster = member.roster();
    may_go(member, &roster, leaver)?;
    let state = member.state();
    let answer = if state.departed.contains(&leaver) {
        Ok(Accepted { revision: state.revision })
    } else {
        let (author, command) = (author.to_owned(), Command::Leave { member: leaver });
        write(member, Proposal { request, author, at_ms: 0, command }, deadline).await?
    };
    if answer.is_ok() {
        tracing::info!(agent = %leaver, author, "agent is out for good");
        unseat(member, &roster, leaver, deadline).await?;
    }
    Ok(answer)
}

/// Takes away an agent's part in the log, if it has one: first its vote, then its seat. The caller holds the lock.
pub(crate) async fn unseat(
    member: &Member,
    roster: &Roster,
    leaver: AgentId,
    deadline: Instant,
) -> Result<(), Denied> {
    may_go(member, roster, leaver)?;
    if roster.voters.contains(&leaver) {
        tracing::info!(agent = %leaver, "voter leaves");
        let change = ChangeMembers::RemoveVoters([leaver.number()].into());
        if leaver == member.me() {
            // Who leads next does the rest.
            return resign(member, change).await;
        }
        commit(member, change, deadline).await?;
    }
    if roster.seats.contains_key(&leaver) {
        tracing::info!(agent = %leaver, "learner leaves");
        commit(member, ChangeMembers::RemoveNodes([leaver.number()].into()), deadline).await?;
    }
    Ok(())
}

/// Gives a learner its vote.
pub(crate) async fn promote(member: &Member, learner: AgentId, deadline: Instant) -> Result<(), Denied> {
    tracing::info!(agent = %learner, "learner becomes a voter");
    commit(member, ChangeMembers::AddVoterIds([learner.number()].into()), deadline).await
}

/// Takes a voter's vote, so that another can have it; it stays a member.
pub(crate) async fn demote(
    member: &Member,
    roster: &Roster,
    voter: AgentId,
    deadline: Instant,
) -> Result<(), Denied> {
    may_go(member, roster, voter)?;
    tracing::info!(agent = %voter, "voter was down for long, another gets its vote");
    commit(member, ChangeMembers::RemoveVoters([voter.number()].into()), deadline).await
}

/// Ends a change of voters that was begun and not ended. Whether who lost its vote was to leave as well, its record tells.
pub(crate) async fn end_joint(member: &Member, deadline: Instant) -> Result<(), Denied> {
    let membership = member.metrics().membership_config;
    let [_, .., goal] = membership.membership().get_joint_config().as_slice() else { return Ok(()) };
    commit(member, ChangeMembers::ReplaceAllVoters(goal.clone()), deadline).await
}

/// One change at a time, in this process and so in the group: only its leader changes anything.
async fn lock(member: &Member, deadline: Instant) -> Result<MutexGuard<'_, ()>, Denied> {
    let busy = |_| Denied::Final(ProposeError::Busy);
    timeout_at(deadline.min(Instant::now() + CHANGE_DEADLINE), member.changing.lock()).await.map_err(busy)
}

/// Whoever loses its vote stays seated, also by a change that is ended on the way: an earlier leader may not have ended it.
async fn commit(member: &Member, change: ChangeMembers<u64, Seat>, deadline: Instant) -> Result<(), Denied> {
    let deadline = deadline.min(Instant::now() + CHANGE_DEADLINE);
    let changing = member.raft.change_membership(change, true);
    let changed = while_leading(member, deadline, changing).await?;
    changed.map(drop).map_err(denied)
}

/// A change that takes the leader's own vote. That it leads no longer near the end is no failure.
async fn resign(member: &Member, change: ChangeMembers<u64, Seat>) -> Result<(), Denied> {
    let changed = timeout(CHANGE_DEADLINE, member.raft.change_membership(change, true)).await;
    changed.map_err(|_| Denied::Final(ProposeError::Timeout))?.map(drop).map_err(denied)
}

fn may_go(member: &Member, roster: &Roster, leaver: AgentId) -> Result<(), Denied> {
    if !roster.voters.contains(&leaver) {
        return Ok(());
    }
    let rest = rest_keeps_quorum(roster, leaver, |rest| member.watched.in_touch(rest, member.me()));
    rest.map_err(Denied::Final)
}

/// After a voter has left, a majority of the others must be in touch.
fn rest_keeps_quorum(
    roster: &Roster,
    leaver: AgentId,
    in_touch: impl Fn(&BTreeSet<AgentId>) -> usize,
) -> Result<(), ProposeError> {
    let rest: BTreeSet<_> = roster.voters.iter().copied().filter(|voter| *voter != leaver).collect();
    let in_touch = in_touch(&rest);
    if rest.is_empty() || in_touch < rest.len() / 2 + 1 {
        return Err(ProposeError::WouldLoseQuorum { voters: rest.len(), in_touch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_never_goes_below_quorum() {
        let voters = |numbers: &[u64]| numbers.iter().map(|n| AgentId::from_random(*n)).collect();
        let roster = Roster { voters: voters(&[1, 2, 3]), ..Roster::default() };
        let leaver = AgentId::from_random(3);
        assert_eq!(rest_keeps_quorum(&roster, leaver, BTreeSet::len), Ok(()));
        let error = rest_keeps_quorum(&roster, leaver, |_| 1);
        assert_eq!(error, Err(ProposeError::WouldLoseQuorum { voters: 2, in_touch: 1 }));
        let last = Roster { voters: voters(&[3]), ..Roster::default() };
        assert!(rest_keeps_quorum(&last, leaver, BTreeSet::len).is_err());
    }
}
