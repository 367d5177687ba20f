//! When to stand for election. Raft's own timer is off; this is its place, with the question that Raft 0.9 does not ask
//! first (Pre-Vote): "do you see a leader?"
//!
//! ```text
//!  silence > lease + turn ──▶ ask every voter ──▶ a majority sees none, nobody's log is ahead ──▶ stand
//!          ▲                                  └──▶ otherwise: wait again ──┐
//!          └────────────────────────────────────────────────────────────────┘
//! ```
//! So a member that was cut off alone does not come back with a higher term and depose a healthy leader. Voters take turns:
//! the first of those that are left asks as soon as the lease is over, each next one a moment later, so that seldom two
//! stand at once. After a try that failed the wait is drawn at random.
//!
//! Should the question itself stand in the way (a majority is in touch for long and nobody leads), Raft's own timer is
//! let loose.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use openraft::ServerState;
use rand::Rng;
use tokio::time::{Instant, sleep};
use warren_core::id::AgentId;

use crate::{
    member::{Member, Standing},
    metrics::RAFT_ELECTIONS_TOTAL,
    options::Timing,
    peers::ping,
    raft::{LogId, Metrics, Roster, agent},
};

/// With a majority in touch and no leader for this long, Raft's own timer helps.
const LET_LOOSE_AFTER: Duration = Duration::from_secs(10);
/// How often a member that is content looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the last voters have to object to a majority.
const LAST_MOMENT: Duration = Duration::from_millis(20);

/// What one voter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    sees_leader: bool,
    last_log: Option<LogId>,
}

/// Whether to stand, after asking the other voters. Silence is no consent. A voter whose log is ahead of ours would
/// refuse us, and our higher term would only keep it from being elected itself.
fn consents(words: &[Option<Word>], voters: usize, last_log: Option<LogId>) -> bool {
    let ahead = words.iter().flatten().any(|word| word.last_log > last_log);
    let free = words.iter().flatten().filter(|word| !word.sees_leader).count();
    !ahead && free + 1 > voters / 2
}

/// How long after the last calm to ask.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// The lease and one's turn.
    Turn,
    /// After a failed try, when there is no lease to wait for: as drawn.
    Drawn(Duration),
}

impl Wait {
    /// From a range wide enough that two members seldom meet.
    fn draw(timing: Timing, rng: &mut impl Rng) -> Self {
        let random = rng.random_range(Duration::from_millis(10)..=timing.election_min);
        Self::Drawn(timing.lease() / 2 + random)
    }

    fn length(self, timing: Timing, turn: u32) -> Duration {
        match self {
            Self::Turn => timing.lease() + timing.turn() * turn + timing.turn() / 4,
            Self::Drawn(wait) => wait,
        }
    }
}

/// Who asks when: its place among the voters without the leader that fell silent, counted from that one on, so that not
/// always the same comes first.
fn turn(voters: &BTreeSet<AgentId>, me: AgentId, leader: Option<AgentId>) -> u32 {
    let place = |id: AgentId| (leader.is_some_and(|leader| id <= leader), id);
    let before = voters.iter().filter(|voter| Some(**voter) != leader && place(**voter) < place(me));
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// Stands for election when it is time, until the member stops.
pub(crate) async fn run(member: Arc<Member>) {
    let mut wait = Wait::Turn;
    let (mut last_leader, mut tried) = (None, None);
    let mut loose = false;
    let started = Instant::now();
    loop {
        let metrics = member.metrics();
        if metrics.running_state.is_err() {
            return;
        }
        last_leader = metrics.current_leader.and_then(agent).or(last_leader);
        if member.heard.last_leader() > tried {
            wait = Wait::Turn;
        }
        let pause = match next(&member, &metrics, wait, last_leader) {
            Next::Look(pause) => {
                if loose && metrics.current_leader.is_some() {
                    member.raft.runtime_config().elect(false);
                    loose = false;
                }
                pause
            }
            Next::Stand => {
                stand(&member).await;
                // Its own vote is on its way to the disk; standing again before it is there would begin anew.
                member.timing.in_touch()
            }
            Next::Ask(roster) => {
                let asked = Instant::now();
                // Meanwhile a leader may have been heard, or another got our vote: what the voters said is old then.
                if ask(&member, &roster).await && member.heard.last_calm() <= asked {
                    stand(&member).await;
                } else {
                    member.heard.calm(Instant::now());
                }
                (wait, tried) = (Wait::draw(member.timing, &mut rand::rng()), Some(Instant::now()));
                let silent = member.heard.last_leader().unwrap_or(started).elapsed() > LET_LOOSE_AFTER;
                if silent
                    && !loose
                    && member.watched.in_touch(&roster.voters, member.me()) >= roster.majority()
                {
                    tracing::warn!("a majority is in touch and nobody leads: elections by Raft's own timer");
                    member.raft.runtime_config().elect(true);
                    loose = true;
                }
                Duration::from_millis(10)
            }
        };
        if member.stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

enum Next {
    /// Nothing to do; look again after this.
    Look(Duration),
    /// Nobody to ask.
    Stand,
    Ask(Roster),
}

fn next(member: &Member, metrics: &Metrics, wait: Wait, last_leader: Option<AgentId>) -> Next {
    let roster = Roster::of(&metrics.membership_config);
    let stopped = matches!(member.standing(), Standing::Stopped(_));
    let idle = metrics.state == ServerState::Leader || stopped || member.resigns();
    if idle || !roster.voters.contains(&member.me()) {
        return Next::Look(LOOK_EVERY);
    }
    if roster.voters.len() == 1 {
        return Next::Stand;
    }
    let wait = wait.length(member.timing, turn(&roster.voters, member.me(), last_leader));
    match wait.checked_sub(member.heard.last_calm().elapsed()) {
        Some(left) if !left.is_zero() => Next::Look(left.clamp(Duration::from_millis(5), LOOK_EVERY)),
        _ => Next::Ask(roster),
    }
}

pub(crate) async fn stand(member: &Member) {
    member.heard.calm(Instant::now());
    metrics::counter!(RAFT_ELECTIONS_TOTAL).increment(1);
    member.stood.fetch_add(1, Relaxed);
    tracing::info!(me = %member.me(), "standing for election");
    if let Err(error) = member.raft.trigger().elect().await {
        tracing::debug!(%error, "cannot stand: the log has stopped");
    }
}

/// Asks everybody at once, and does not wait for the dead: once a majority agrees the others have a last moment to object.
async fn ask(member: &Member, roster: &Roster) -> bool {
    let deadline = member.timing.election_min;
    let others = roster.voters.iter().filter(|voter| **voter != member.me());
    let mut asked: FuturesUnordered<_> = others
        .map(|voter| async move {
            let answer = ping(member, *voter, roster.seats.get(voter)?, deadline).await?;
            let last_log = serde_json::from_slice(&answer.last_log).ok();
            Some(Word { sees_leader: !answer.leader.is_empty(), last_log })
        })
        .collect();
    let mut words = Vec::new();
    let agreed = |words: &[Option<Word>]| consents(words, roster.voters.len(), member.log.last());
    let late = sleep(deadline);
    tokio::pin!(late);
    loop {
        tokio::select! {
            word = asked.next() => match word {
                Some(word) => words.push(word),
                None => break,
            },
            () = &mut late => break,
        }
        let last_moment = Instant::now() + LAST_MOMENT;
        if agreed(&words) && last_moment < late.deadline() {
            late.as_mut().reset(last_moment);
        }
    }
    agreed(&words)
}

/// The leader that a member names to others who ask: only one that it was in touch with within the lease.
pub(crate) fn visible_leader(member: &Member) -> Option<AgentId> {
    let metrics = member.raft.metrics();
    let metrics = metrics.borrow();
    let leader = metrics.current_leader.and_then(agent)?;
    let lease = member.timing.lease();
    let fresh = if leader == member.me() {
        metrics.millis_since_quorum_ack.is_some_and(|millis| u128::from(millis) <= lease.as_millis())
    } else {
        member.heard.last_leader().is_some_and(|heard| heard.elapsed() <= lease)
    };
    fresh.then_some(leader)
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::options::Profile;

    fn log(term: u64, index: u64) -> Option<LogId> {
        Some(LogId::new(CommittedLeaderId::new(term, 1), index))
    }

    fn word(sees_leader: bool, last_log: Option<LogId>) -> Option<Word> {
        Some(Word { sees_leader, last_log })
    }

    #[test]
    fn a_majority_must_see_no_leader() {
        let (free, led) = (word(false, log(1, 5)), word(true, log(1, 5)));
        let consents = |words: &[Option<Word>]| consents(words, words.len() + 1, log(1, 5));
        assert!(consents(&[free, None]));
        assert!(consents(&[free, led]), "one that sees the leader does not stop two that do not");
        assert!(!consents(&[led, None]));
        assert!(!consents(&[None, None]));
        assert!(!consents(&[None]));
        assert!(consents(&[free, free, None, None]));
        assert!(!consents(&[free, None, None, None]));
    }

    #[test]
    fn who_is_behind_does_not_stand() {
        let words = [word(false, log(2, 5)), word(false, None)];
        assert!(!consents(&words, 3, log(2, 4)));
        assert!(consents(&words, 3, log(2, 5)));
        // A longer log of an earlier term is behind.
        assert!(consents(&words, 3, log(3, 1)));
        assert!(!consents(&words, 3, log(1, 9)));
    }

    #[test]
    fn voters_ask_in_turn_from_the_silent_leader_on() {
        let id = AgentId::from_random;
        let mut voters: Vec<_> = [1, 2, 3, 4, 5].map(id).into();
        voters.sort();
        let all: BTreeSet<_> = voters.iter().copied().collect();
        let turns =
            |leader: Option<AgentId>| voters.iter().map(|me| turn(&all, *me, leader)).collect::<Vec<_>>();
        assert_eq!(turns(None), [0, 1, 2, 3, 4]);
        assert_eq!(turns(Some(voters[4]))[..4], [0, 1, 2, 3]);
        let from_the_second = turns(Some(voters[1]));
        assert_eq!((from_the_second[0], &from_the_second[2..]), (3, &[0, 1, 2][..]));
    }

    #[test]
    fn the_first_turn_comes_when_the_lease_is_over_and_later_waits_differ() {
        let mut rng = StdRng::seed_from_u64(7);
        let timing = Profile::Lan.timing();
        let turns: Vec<_> = (0..4).map(|turn| Wait::Turn.length(timing, turn)).collect();
        assert!(turns[0] > timing.lease() && turns[0] < timing.lease() + timing.heartbeat / 2, "{turns:?}");
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == timing.turn()));
        let waits: Vec<_> = (0..20).map(|_| Wait::draw(timing, &mut rng).length(timing, 0)).collect();
        assert!(waits.iter().max() > waits.iter().min());
        assert!(waits.iter().all(|wait| *wait > timing.lease() / 2));
    }
}
