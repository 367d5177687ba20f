//! Who hears whom: every member pings every other, and keeps what it learned in one table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::TaskTracker;
use tonic::Request;
use warren_core::{
    id::AgentId,
    state::{Level, Verdict},
};
use warren_wire::v1;

use crate::{
    judge::{Judge, weigh},
    member::{Member, Standing},
    raft::Seat,
};

/// Time between two pings to a member.
pub(crate) const PING_EVERY: Duration = Duration::from_millis(500);
/// How long a ping may take.
pub(crate) const PING_DEADLINE: Duration = Duration::from_secs(1);
/// How long "it was heard" holds, for a witness.
const HEARD_FOR: Duration = Duration::from_secs(2);

/// What this member knows of the others.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<BTreeMap<AgentId, Seen>>);

#[derive(Debug)]
struct Seen {
    judge: Judge,
    /// Last sign of life: its answer to our ping, or its ping.
    heard: Option<Instant>,
    said: Said,
    /// A ping is on its way.
    asking: bool,
}

/// What a member says of itself in answer to a ping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Whom it hears itself.
    pub(crate) hears: BTreeSet<AgentId>,
    /// It is about to stop.
    pub(crate) leaving: bool,
    /// What its program knows.
    pub(crate) level: Level,
}

impl Said {
    fn read(answer: &v1::PingResponse) -> Self {
        Self {
            hears: answer.hears.iter().filter_map(|id| id.parse().ok()).collect(),
            leaving: answer.leaving,
            level: Level::known_to(answer.level),
        }
    }
}

impl Watched {
    /// Watches exactly `others`, and names those that should be pinged now. Each must be answered or missed.
    pub(crate) fn due(&self, others: &BTreeSet<AgentId>, now: Instant) -> Vec<AgentId> {
        let mut table = self.table();
        table.retain(|peer, _| others.contains(peer));
        let due = others.iter().filter(|peer| {
            let seen = table.entry(**peer).or_insert_with(|| Seen::new(now));
            !std::mem::replace(&mut seen.asking, true)
        });
        due.copied().collect()
    }

    pub(crate) fn answered(&self, peer: AgentId, said: Said, now: Instant) {
        if let Some(seen) = self.table().get_mut(&peer) {
            seen.judge.answered(now);
            seen.heard = Some(now);
            seen.said = said;
            seen.asking = false;
        }
    }

    pub(crate) fn missed(&self, peer: AgentId, now: Instant) {
        if let Some(seen) = self.table().get_mut(&peer) {
            seen.judge.missed(now);
            seen.said.hears.clear();
            // It may come back as another program.
            seen.said.level = Level::OLDEST;
            seen.asking = false;
        }
    }

    /// The member called this one.
    pub(crate) fn called(&self, peer: AgentId, now: Instant) {
        if let Some(seen) = self.table().get_mut(&peer) {
            seen.heard = Some(now);
        }
    }

    /// Whom this member has heard lately.
    pub(crate) fn hears(&self, now: Instant) -> Vec<AgentId> {
        let table = self.table();
        let lately = table
            .iter()
            .filter(|(_, seen)| seen.heard.is_some_and(|heard| now.duration_since(heard) <= HEARD_FOR));
        lately.map(|(peer, _)| *peer).collect()
    }

    /// How many of `voters` are in touch, this member among them.
    pub(crate) fn in_touch(&self, voters: &BTreeSet<AgentId>, me: AgentId) -> usize {
        let table = self.table();
        let in_touch =
            |voter: &&AgentId| **voter == me || table.get(*voter).is_some_and(|seen| seen.judge.in_touch());
        voters.iter().filter(in_touch).count()
    }

    /// What this member would say of each other, witnesses heard.
    pub(crate) fn judged(&self) -> BTreeMap<AgentId, (Verdict, &'static str)> {
        let table = self.table();
        let judge = |(peer, seen): (&AgentId, &Seen)| {
            let witnesses = table.values().filter(|other| other.said.hears.contains(peer)).count();
            (*peer, weigh(seen.judge.verdict(), witnesses))
        };
        table.iter().map(judge).collect()
    }

    /// Who answers, and does not mean to stop.
    pub(crate) fn stay(&self) -> BTreeSet<AgentId> {
        let table = self.table();
        let stay = table.iter().filter(|(_, seen)| seen.judge.verdict() == Verdict::Up && !seen.said.leaving);
        stay.map(|(peer, _)| *peer).collect()
    }

    /// What the programs know of those that answer.
    pub(crate) fn levels(&self) -> BTreeMap<AgentId, Level> {
        let table = self.table();
        let up = table.iter().filter(|(_, seen)| seen.judge.verdict() == Verdict::Up);
        up.map(|(peer, seen)| (*peer, seen.said.level)).collect()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<AgentId, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self { judge: Judge::new(now), heard: None, said: Said::default(), asking: false }
    }
}

/// Pings until the member stops.
pub(crate) async fn run(member: Arc<Member>) {
    let pings = TaskTracker::new();
    let mut tick = interval(PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while member.stop.run_until_cancelled(tick.tick()).await.is_some() {
        // Its calls would have the others believe that it takes part.
        if matches!(member.standing(), Standing::Stopped(_)) {
            continue;
        }
        let seats = member.roster().seats;
        let others = seats.keys().copied().filter(|peer| *peer != member.me()).collect();
        // At most one ping per member is on its way, so their number is bounded by the group's size.
        for peer in member.watched.due(&others, Instant::now()) {
            let Some(seat) = seats.get(&peer).cloned() else { continue };
            let member = member.clone();
            pings.spawn(async move {
                let asked = ping(&member, peer, &seat, PING_DEADLINE);
                let answer = member.stop.run_until_cancelled(asked).await.flatten();
                let now = Instant::now();
                match answer {
                    Some(answer) => {
                        member.watched.answered(peer, Said::read(&answer), now);
                    }
                    None => member.watched.missed(peer, now),
                }
            });
        }
    }
    pings.close();
    pings.wait().await;
}

/// Asks a member what it knows; `None` when it did not answer in time, or refused.
pub(crate) async fn ping(
    member: &Member,
    peer: AgentId,
    seat: &Seat,
    deadline: Duration,
) -> Option<v1::PingResponse> {
    let mut client = member.pool.client(peer, &seat.address);
    let envelope = member.pool.envelope(peer, member.log.mark(), seat.log);
    let mut request = Request::new(v1::PingRequest { envelope });
    request.set_timeout(deadline);
    let answer = timeout(deadline, client.ping(request)).await;
    member.pool.outcome(peer, matches!(answer, Ok(Ok(_))));
    match answer {
        Ok(Ok(answer)) => Some(answer.into_inner()),
        Ok(Err(status)) => {
            member.log.heed(&status);
            tracing::debug!(%peer, %status, "ping failed");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(numbers: &[u64]) -> BTreeSet<AgentId> {
        numbers.iter().map(|number| AgentId::from_random(*number)).collect()
    }

    #[test]
    fn a_member_that_only_others_hear_is_suspect() {
        let (watched, mut now) = (Watched::default(), Instant::now());
        let [b, c] = [2, 3].map(AgentId::from_random);
        assert_eq!(watched.due(&agents(&[2, 3]), now).len(), 2);
        assert_eq!(watched.due(&agents(&[2, 3]), now), [], "each has a ping on its way");
        for _ in 0..10 {
            now += PING_EVERY;
            watched.answered(b, Said { hears: agents(&[3]), ..Said::default() }, now);
            watched.missed(c, now);
        }
        assert_eq!(watched.judged()[&c].0, Verdict::Suspect);
        assert_eq!(watched.in_touch(&agents(&[1, 2, 3]), AgentId::from_random(1)), 2);
        assert_eq!(watched.hears(now), [b]);
        assert_eq!(watched.stay(), agents(&[2]), "{c} does not answer");
        watched.answered(b, Said { leaving: true, ..Said::default() }, now);
        assert_eq!(watched.stay(), agents(&[]));
        assert_eq!(watched.judged()[&c], (Verdict::Down, "silent to all members"));
        // Who left the group is forgotten.
        watched.due(&agents(&[2]), now);
        assert!(!watched.judged().contains_key(&c));
        watched.called(b, now + Duration::from_secs(9));
        assert_eq!(watched.hears(now + Duration::from_secs(10)), [b]);
    }
}
