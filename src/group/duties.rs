//! What the leader does unasked. What is due is decided by pure functions; the task does one thing at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use warren_core::{
    id::AgentId,
    state::{Command, GroupState, Level, Verdict, VerdictChange},
};

use crate::{
    change::{self, CHANGE_DEADLINE, Newcomer},
    member::Member,
    options::Profile,
    propose::{Denied, write_own},
    raft::Roster,
};

/// Voters of a group; more would make every edit wait for more disks.
pub(crate) const VOTERS_MAX: usize = 5;
/// A learner this close behind the leader has caught up.
const LAG_MAX: u64 = 100;
/// How often the leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Changes of verdict are gathered at least this long.
const VERDICTS_EVERY: Duration = Duration::from_secs(1);

/// One thing that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// An earlier leader began to change the voters and did not end.
    EndJoint,
    /// It counts, but people do not see it.
    Record(AgentId),
    /// All members know more than the group does.
    Raise(Level),
    Promote(AgentId),
    /// It has been down for long, and another waits for its vote. It stays a member, and may get a vote again.
    Demote(AgentId),
    /// It left for good, and counts still: its leader died on the way.
    Unseat(AgentId),
}

/// The first thing that is due. `level` is what every member knows, `steady` are the learners that have kept up for long
/// enough, `gone` the voters that have been down for long.
fn due(
    roster: &Roster,
    state: &GroupState,
    level: Level,
    steady: &[AgentId],
    gone: &[AgentId],
) -> Option<Duty> {
    if roster.joint {
        return Some(Duty::EndJoint);
    }
    let left = |agent: &AgentId| state.departed.contains(agent);
    let unseen = roster.seats.keys().find(|agent| !state.members.contains_key(agent) && !left(agent));
    let learner = |agent: &AgentId| !roster.voters.contains(agent) && roster.seats.contains_key(agent);
    let next = || steady.iter().find(|agent| learner(agent) && !left(agent));
    let full = roster.voters.len() >= VOTERS_MAX;
    let vote = || {
        let gone = gone.iter().find(|agent| roster.voters.contains(agent));
        match (next()?, gone) {
            (next, _) if !full => Some(Duty::Promote(*next)),
            (_, gone) => gone.map(|agent| Duty::Demote(*agent)),
        }
    };
    // Last, because it may have to wait for another voter.
    let leaver = || roster.seats.keys().find(|agent| left(agent));
    unseen
        .map(|agent| Duty::Record(*agent))
        .or_else(|| (level > state.level).then_some(Duty::Raise(level)))
        .or_else(vote)
        .or_else(|| leaver().map(|agent| Duty::Unseat(*agent)))
}

/// What the programs of all members know; one that does not answer may know nothing.
fn common_level(roster: &Roster, me: AgentId, own: Level, others: &BTreeMap<AgentId, Level>) -> Level {
    let of =
        |agent: &AgentId| if *agent == me { own } else { others.get(agent).copied().unwrap_or_default() };
    roster.seats.keys().map(of).min().unwrap_or_default()
}

/// Since when each learner has kept up without a break.
#[derive(Debug, Default)]
struct Steady(BTreeMap<AgentId, Instant>);

impl Steady {
    /// Takes note of the learners that keep up at `now`, and names those that did so for `long`.
    fn note(&mut self, keeping_up: &[AgentId], now: Instant, long: Duration) -> Vec<AgentId> {
        self.0.retain(|agent, _| keeping_up.contains(agent));
        for agent in keeping_up {
            self.0.entry(*agent).or_insert(now);
        }
        let steady = self.0.iter().filter(|(_, since)| now.duration_since(**since) >= long);
        steady.map(|(agent, _)| *agent).collect()
    }
}

/// Changes of verdict that the log does not know yet. The leader itself is up: it leads.
fn verdicts(
    state: &GroupState,
    me: AgentId,
    judged: &BTreeMap<AgentId, (Verdict, &'static str)>,
) -> Vec<VerdictChange> {
    let changes = state.members.iter().filter_map(|(agent, record)| {
        let (verdict, detail) =
            if *agent == me { (Verdict::Up, "leads the group") } else { *judged.get(agent)? };
        let changed = record.verdict.verdict != verdict;
        changed.then(|| VerdictChange { member: *agent, resource: None, verdict, detail: detail.to_owned() })
    });
    changes.collect()
}

/// Does what is due while this member leads, until it stops.
pub(crate) async fn run(member: Arc<Member>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut steady, mut gone) = (Steady::default(), Steady::default());
    let mut verdicts_at = Instant::now();
    while member.stop.run_until_cancelled(tick.tick()).await.is_some() {
        if !member.leads() || member.resigns() {
            (steady, gone) = (Steady::default(), Steady::default());
            continue;
        }
        let now = Instant::now();
        if now.duration_since(verdicts_at) >= VERDICTS_EVERY {
            let changes = verdicts(&member.state(), member.me(), &member.watched.judged());
            if !changes.is_empty() {
                verdicts_at = now;
                tell(&member, changes).await;
            }
        }
        let long = promote_after(member.options.profile);
        let steady = steady.note(&keeping_up(&member), now, long);
        let gone = gone.note(&down_voters(&member), now, member.tuning.replace_after);
        if let Err(denied) = act(&member, &steady, &gone).await {
            tracing::debug!(?denied, "a duty was not done; again soon");
        }
    }
}

async fn tell(member: &Arc<Member>, changes: Vec<VerdictChange>) {
    for change in &changes {
        tracing::info!(member = %change.member, verdict = change.verdict.as_str(), why = change.detail, "verdict");
    }
    let deadline = Instant::now() + CHANGE_DEADLINE;
    if let Err(denied) = write_own(member, Command::Verdicts { changes }, deadline).await {
        tracing::debug!(?denied, "verdicts were not written; again soon");
    }
}

/// Learners that are close behind and answer.
fn keeping_up(member: &Member) -> Vec<AgentId> {
    let metrics = member.metrics();
    let roster = Roster::of(&metrics.membership_config);
    let judged = member.watched.judged();
    let (Some(last), Some(replication)) = (metrics.last_log_index, metrics.replication) else {
        return Vec::new();
    };
    let learners = roster.seats.keys().filter(|agent| !roster.voters.contains(agent));
    let keeping = learners.filter(|agent| {
        let matched = replication.get(&agent.number()).and_then(|id| id.map(|id| id.index));
        let close = matched.is_some_and(|matched| last.saturating_sub(matched) < LAG_MAX);
        close && judged.get(agent).is_some_and(|(verdict, _)| *verdict == Verdict::Up)
    });
    keeping.copied().collect()
}

/// Voters that nobody hears.
fn down_voters(member: &Member) -> Vec<AgentId> {
    let judged = member.watched.judged();
    let down = |voter: &AgentId| judged.get(voter).is_some_and(|(verdict, _)| *verdict == Verdict::Down);
    member.roster().voters.into_iter().filter(down).collect()
}

async fn act(member: &Arc<Member>, steady: &[AgentId], gone: &[AgentId]) -> Result<(), Denied> {
    // Somebody else changes the membership: what is due is not settled.
    let Ok(_changing) = member.changing.try_lock() else { return Ok(()) };
    let roster = member.roster();
    let level = common_level(&roster, member.me(), member.tuning.level, &member.watched.levels());
    let Some(duty) = due(&roster, &member.state(), level, steady, gone) else { return Ok(()) };
    tracing::debug!(?duty, "duty");
    let deadline = Instant::now() + CHANGE_DEADLINE;
    match duty {
        Duty::EndJoint => change::end_joint(member, deadline).await,
        Duty::Record(agent) => {
            let seat = roster.seats.get(&agent).cloned().unwrap_or_default();
            // Its version is not known here; it says so itself when it announces itself next.
            let version = if agent == member.me() { member.options.version.clone() } else { String::new() };
            change::record(member, &Newcomer { agent, seat, version, level }, deadline).await.map(drop)
        }
        Duty::Raise(level) => {
            tracing::info!(%level, "all members know this feature level: the group works at it from now on");
            write_own(member, Command::Level { level }, deadline).await.map(drop)
        }
        Duty::Unseat(agent) => change::unseat(member, &roster, agent, deadline).await,
        Duty::Promote(agent) => change::promote(member, agent, deadline).await,
        Duty::Demote(agent) => change::demote(member, &roster, agent, deadline).await,
    }
}

/// How long a learner must keep up before it gets a vote.
fn promote_after(profile: Profile) -> Duration {
    match profile {
        Profile::Lan => Duration::from_secs(2),
        Profile::Wan | Profile::SlowDisk => Duration::from_secs(10),
    }
}

#[cfg(test)]
mod tests {
    use warren_core::state::{Proposal, RequestId};

    use super::*;
    use crate::raft::Seat;

    fn id(number: u64) -> AgentId {
        AgentId::from_random(number)
    }

    fn roster(seats: &[u64], voters: &[u64]) -> Roster {
        Roster {
            seats: seats.iter().map(|n| (id(*n), Seat::default())).collect(),
            voters: voters.iter().map(|n| id(*n)).collect(),
            joint: false,
        }
    }

    fn state(members: &[u64]) -> GroupState {
        let mut state = GroupState::default();
        for number in members {
            let command = Command::Join {
                member: id(*number),
                name: format!("a{number}"),
                peer_address: "h:1".into(),
                version: String::new(),
            };
            let request = RequestId(u128::from(*number));
            state.apply(&Proposal { request, author: "t".into(), at_ms: 1, command }).unwrap();
        }
        state
    }

    fn duty(roster: &Roster, state: &GroupState, steady: &[AgentId], gone: &[AgentId]) -> Option<Duty> {
        due(roster, state, Level::OLDEST, steady, gone)
    }

    #[test]
    fn the_level_is_that_of_the_lowest_member() {
        let (two, newest) = (roster(&[1, 2], &[1, 2]), Level::NEWEST);
        let level = |others: &[(u64, Level)]| {
            common_level(&two, id(1), newest, &others.iter().map(|(n, level)| (id(*n), *level)).collect())
        };
        assert_eq!(level(&[(2, newest)]), newest);
        assert_eq!(level(&[(2, Level::OLDEST)]), Level::OLDEST);
        assert_eq!(level(&[]), Level::OLDEST, "it does not answer");
        assert_eq!(due(&two, &state(&[1, 2]), newest, &[], &[]), Some(Duty::Raise(newest)));
        let mut raised = state(&[1, 2]);
        raised.level = newest;
        assert_eq!(due(&two, &raised, newest, &[], &[]), None);
    }

    #[test]
    fn one_thing_at_a_time_and_the_unfinished_first() {
        let joint = Roster { joint: true, ..roster(&[1, 2], &[1]) };
        assert_eq!(duty(&joint, &state(&[1]), &[id(2)], &[]), Some(Duty::EndJoint));
        assert_eq!(duty(&roster(&[1, 2], &[1]), &state(&[1]), &[id(2)], &[]), Some(Duty::Record(id(2))));
        assert_eq!(duty(&roster(&[1], &[1]), &state(&[1, 2]), &[], &[]), None, "nobody is barred unasked");
        assert_eq!(duty(&roster(&[1, 2], &[1]), &state(&[1, 2]), &[id(2)], &[]), Some(Duty::Promote(id(2))));
        assert_eq!(duty(&roster(&[1, 2], &[1]), &state(&[1, 2]), &[], &[]), None);
        assert_eq!(duty(&roster(&[1, 2], &[1, 2]), &state(&[1, 2]), &[], &[]), None);
    }

    #[test]
    fn one_that_left_for_good_gets_no_record_again() {
        let mut state = state(&[1, 2]);
        let leave = Command::Leave { member: id(2) };
        let proposal = Proposal { request: RequestId(9), author: "t".into(), at_ms: 2, command: leave };
        state.apply(&proposal).unwrap();
        assert_eq!(duty(&roster(&[1, 2], &[1]), &state, &[id(2)], &[]), Some(Duty::Unseat(id(2))));
        // One that cannot be unseated now does not keep others from their votes.
        let three = roster(&[1, 2, 3], &[1, 2]);
        assert_eq!(duty(&three, &state, &[], &[]), Some(Duty::Record(id(3))));
        let request = RequestId(10);
        let (name, peer_address) = ("a3".to_owned(), "h:1".to_owned());
        let join = Command::Join { member: id(3), name, peer_address, version: String::new() };
        state.apply(&Proposal { request, author: "t".into(), at_ms: 3, command: join }).unwrap();
        assert_eq!(duty(&three, &state, &[id(3)], &[]), Some(Duty::Promote(id(3))));
        assert_eq!(duty(&three, &state, &[], &[]), Some(Duty::Unseat(id(2))));
    }

    #[test]
    fn the_sixth_member_stays_a_learner() {
        let all = [1, 2, 3, 4, 5, 6];
        assert_eq!(duty(&roster(&all, &all[..5]), &state(&all), &[id(6)], &[]), None);
        assert_eq!(duty(&roster(&all, &all[..4]), &state(&all), &[id(6)], &[]), Some(Duty::Promote(id(6))));
    }

    #[test]
    fn a_dead_voters_place_goes_to_one_that_waits() {
        let all = [1, 2, 3, 4, 5, 6];
        let full = roster(&all, &all[..5]);
        assert_eq!(duty(&full, &state(&all), &[id(6)], &[id(2)]), Some(Duty::Demote(id(2))));
        assert_eq!(duty(&full, &state(&all), &[], &[id(2)]), None, "nobody waits: it may come back");
        let freed = roster(&all, &[1, 3, 4, 5]);
        assert_eq!(duty(&freed, &state(&all), &[id(6)], &[]), Some(Duty::Promote(id(6))));
        let small = roster(&[1, 2, 3], &[1, 2]);
        assert_eq!(duty(&small, &state(&[1, 2, 3]), &[id(3)], &[id(2)]), Some(Duty::Promote(id(3))));
    }

    #[test]
    fn a_break_starts_the_wait_anew() {
        let (mut steady, start, long) = (Steady::default(), Instant::now(), Duration::from_secs(2));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(steady.note(&[id(2)], at(0), long), []);
        assert_eq!(steady.note(&[id(2)], at(1_900), long), []);
        assert_eq!(steady.note(&[id(2)], at(2_000), long), [id(2)]);
        assert_eq!(steady.note(&[], at(2_100), long), []);
        assert_eq!(steady.note(&[id(2)], at(2_200), long), []);
    }

    #[test]
    fn only_changes_of_verdict_are_told() {
        let state = state(&[1, 2, 3]);
        let judged = BTreeMap::from([
            (id(1), (Verdict::Down, "a leader does not judge itself")),
            (id(2), (Verdict::Up, "")),
            (id(3), (Verdict::Down, "silent")),
        ]);
        let changes = verdicts(&state, id(1), &judged);
        assert_eq!(
            changes.iter().map(|c| (c.member, c.verdict)).collect::<Vec<_>>(),
            [(id(3), Verdict::Down)]
        );
        assert_eq!(verdicts(&state, id(1), &BTreeMap::new()), []);
    }
}
