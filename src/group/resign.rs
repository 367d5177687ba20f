//! A leader that is about to stop hands its title over, so that nobody has to miss it first.
//!
//! ```text
//!  leader: takes no proposal ─▶ all is decided, one voter has all of it ─▶ "yield to it" ─▶ every other voter
//!                                                                     └─▶ "stand"       ─▶ that voter
//! ```
//! Voters refuse everybody for as long as they trust the leader's last word. Told to yield by that leader itself, they
//! promise their vote of the next term to the one that it names, as if that one had asked for it: a promise like any
//! other, kept on the disk. Should the successor fail, the others find a leader as after a crash.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::{
    CommittedLeaderId, ServerState,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Status};
use warren_core::id::AgentId;
use warren_wire::v1::HandOverRequest;

use crate::{
    ballot,
    member::Member,
    raft::{LogId, Metrics, Roster, Types, Vote, agent},
};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The voter that has all of the leader's log, if one has: the first of those that are able.
fn successor(
    metrics: &Metrics,
    roster: &Roster,
    me: AgentId,
    able: impl Fn(&AgentId) -> bool,
) -> Option<AgentId> {
    let replication = metrics.replication.as_ref()?;
    let whole = |id: &AgentId| {
        let matched = replication.get(&id.number()).and_then(|matched| *matched);
        matched.map(|matched| matched.index) == metrics.last_log_index
    };
    roster.voters.iter().copied().find(|voter| *voter != me && able(voter) && whole(voter))
}

/// Gives the title to another voter, if this member leads and one is there; then it does not stand for election again.
/// Otherwise it goes on as before, until it stops.
pub(crate) async fn resign(member: &Arc<Member>) {
    member.leaving.store(true, Relaxed);
    member.resigning.store(true, Relaxed);
    if !hand_over(member).await {
        member.resigning.store(false, Relaxed);
    }
}

/// Whether the successor has taken the title, or is about to.
async fn hand_over(member: &Arc<Member>) -> bool {
    let metrics = member.metrics();
    if metrics.state != ServerState::Leader || Roster::of(&metrics.membership_config).voters.len() < 2 {
        return false;
    }
    let begun = Instant::now();
    let term = metrics.current_term;
    let Ok(Some(heir)) = timeout(member.timing.hand_over(), find(member)).await else {
        tracing::info!("nobody to hand the lead over to: the others will miss this member first");
        return false;
    };
    let roster = member.roster();
    let others = roster.voters.iter().filter(|voter| ![heir, member.me()].contains(voter));
    let asked = others.map(|voter| ask(member, &roster, *voter, heir, term));
    let yielded = join_all(asked).await.into_iter().filter(|yielded| *yielded).count();
    // The heir and this member are two more.
    if yielded + 2 < roster.majority() || promise(member, heir, term).await.is_err() {
        tracing::info!("too few voters yield: the others will miss this member first");
        return false;
    }
    let stands = ask(member, &roster, heir, heir, term).await;
    if stands {
        let elected = async {
            while member.metrics().current_leader.and_then(agent).is_none() {
                sleep(LOOK_EVERY).await;
            }
        };
        let elected = timeout(member.timing.hand_over() * 2, elected).await.is_ok();
        tracing::info!(to = %heir, elected, took = ?begun.elapsed(), "lead handed over");
    }
    stands
}

/// Waits for all that was proposed to be decided, and for a voter that has it.
async fn find(member: &Member) -> Option<AgentId> {
    loop {
        let metrics = member.metrics();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let decided = metrics.last_applied.map(|id| id.index) == metrics.last_log_index;
        let stay = member.watched.stay();
        let roster = Roster::of(&metrics.membership_config);
        let heir = successor(&metrics, &roster, member.me(), |voter| stay.contains(voter));
        if decided && heir.is_some() {
            return heir;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Tells one voter who shall lead; whether it will have it so.
async fn ask(member: &Member, roster: &Roster, voter: AgentId, heir: AgentId, term: u64) -> bool {
    let Some(seat) = roster.seats.get(&voter) else { return false };
    let envelope = member.pool.envelope(voter, member.log.mark(), seat.log);
    let mut request = Request::new(HandOverRequest { envelope, to: heir.to_string(), term });
    let within = member.timing.hand_over();
    request.set_timeout(within);
    let mut client = member.pool.client(voter, &seat.address);
    match timeout(within, client.hand_over(request)).await {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => {
            tracing::debug!(%voter, %status, "voter does not yield");
            false
        }
        Err(_) => false,
    }
}

/// What the addressee of [`ask`] does.
pub(crate) async fn take(
    member: &Arc<Member>,
    caller: AgentId,
    heir: AgentId,
    term: u64,
) -> Result<(), Status> {
    let metrics = member.metrics();
    let leads = metrics.current_leader.and_then(agent) == Some(caller) && metrics.current_term == term;
    // One that was told to stand may have told others to yield before: by then nobody leads.
    if !leads {
        return Err(Status::failed_precondition(format!(
            "{caller} does not lead this member in term {term}"
        )));
    }
    if heir == member.me() {
        if member.leaving.load(Relaxed) {
            return Err(Status::failed_precondition(format!("{heir} is about to stop itself")));
        }
        ballot::stand(member).await;
        return Ok(());
    }
    promise(member, heir, term).await
}

/// Promises this member's vote of the next term to `heir`. Raft takes over the vote of whoever appends, before it looks at
/// what is appended: here, something behind an entry that nobody has, which it refuses.
async fn promise(member: &Member, heir: AgentId, term: u64) -> Result<(), Status> {
    member.heard.calm(Instant::now());
    let nowhere = LogId::new(CommittedLeaderId::new(term + 1, heir.number()), u64::MAX / 2);
    let promise = AppendEntriesRequest::<Types> {
        vote: Vote::new(term + 1, heir.number()),
        prev_log_id: Some(nowhere),
        entries: Vec::new(),
        leader_commit: None,
    };
    match timeout(member.timing.hand_over(), member.raft.append_entries(promise)).await {
        Ok(Ok(AppendEntriesResponse::Conflict)) => Ok(()),
        Ok(Ok(_)) => Err(Status::failed_precondition("this member has promised its vote to another")),
        Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
        Err(_) => Err(Status::deadline_exceeded("the log is busy")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_successor_answers_and_has_everything() {
        let id = AgentId::from_random;
        let at = |index| Some(LogId::new(CommittedLeaderId::new(1, 1), index));
        let mut metrics = Metrics::new_initial(id(1).number());
        metrics.last_log_index = Some(9);
        metrics.replication = Some(BTreeMap::from([
            (id(1).number(), at(9)),
            (id(2).number(), at(8)),
            (id(3).number(), at(9)),
            (id(4).number(), at(9)),
            (id(5).number(), at(9)),
        ]));
        let roster = Roster { voters: [id(1), id(2), id(3), id(4)].into(), ..Roster::default() };
        let chosen = |silent: &[AgentId]| successor(&metrics, &roster, id(1), |id| !silent.contains(id));
        let able = [id(3), id(4)];
        assert!(chosen(&[]).is_some_and(|heir| able.contains(&heir)));
        assert_eq!(chosen(&[id(3)]), Some(id(4)));
        assert_eq!(chosen(&able), None, "neither the one behind nor the learner");
    }
}
