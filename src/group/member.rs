//! What all parts of one member share, and how the member stands with its group at this moment.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use openraft::ServerState;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use warren_core::{id::AgentId, state::GroupState};

use crate::{
    error::ProposeError,
    fence::Fenced,
    options::{Options, Timing, Tuning},
    peers::Watched,
    pool::Pool,
    raft::{Metrics, Raft, Roster, Seat, agent},
    store::{Current, LogStore},
};

/// Proposals that this member works on at once; more are refused as busy.
pub(crate) const PROPOSALS_MAX: usize = 256;

pub(crate) struct Member {
    pub(crate) options: Options,
    pub(crate) timing: Timing,
    pub(crate) tuning: Tuning,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) current: watch::Receiver<Current>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) heard: Heard,
    pub(crate) watched: Watched,
    /// Held while the membership changes: Raft allows one change at a time, and a change and its record go together.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) room: Semaphore,
    /// How often this member stood for election.
    pub(crate) stood: AtomicU64,
    /// Hands its lead over, or has done so: takes no proposals as the leader, and does not stand for election.
    pub(crate) resigning: AtomicBool,
    /// Is about to stop: nobody should hand the lead over to it.
    pub(crate) leaving: AtomicBool,
    pub(crate) stop: CancellationToken,
}

/// How a member stands with its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Neither founded nor joined.
    NotReady,
    /// Leads, and a quorum has acknowledged that lately.
    Leads,
    /// Leads by title; its quorum has been silent for long.
    Cut,
    Follows(AgentId),
    /// Nobody was heard lately, or an election is on.
    Leaderless,
    /// Takes no part: for good, or until its disk has space.
    Stopped(String),
}

/// When the leader was last heard, by this member's own clock.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<Times>);

#[derive(Debug, Clone, Copy)]
struct Times {
    leader: Option<Instant>,
    /// Last reason not to stand for election: the leader was heard, somebody got our vote, or we stood.
    calm: Instant,
}

impl Heard {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Times { leader: None, calm: now }))
    }

    pub(crate) fn leader(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Times { leader: Some(now), calm: now };
    }

    pub(crate) fn calm(&self, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calm = now;
    }

    pub(crate) fn last_leader(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).leader
    }

    pub(crate) fn last_calm(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calm
    }
}

impl Member {
    pub(crate) fn me(&self) -> AgentId {
        self.options.me
    }

    pub(crate) fn seat(&self) -> Seat {
        let Options { peer_address, name, .. } = &self.options;
        Seat { address: peer_address.clone(), name: name.clone(), log: self.log.mark().log }
    }

    /// Why this member is out of its group, if it is.
    pub(crate) fn fenced(&self) -> Option<Fenced> {
        let (agent, epoch) = (self.me(), self.log.mark().epoch);
        self.log.superseded().map(|group| Fenced::Past { agent, epoch, group })
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    pub(crate) fn state(&self) -> Arc<GroupState> {
        self.current.borrow().state.clone()
    }

    pub(crate) fn roster(&self) -> Roster {
        Roster::of(&self.raft.metrics().borrow().membership_config)
    }

    pub(crate) fn standing(&self) -> Standing {
        if let Some(fenced) = self.fenced() {
            return Standing::Stopped(fenced.to_string());
        }
        // Raft waits for the disk and does not know that it waits.
        if let Some(trouble) = self.log.trouble() {
            return Standing::Stopped(trouble.to_string());
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match stand(&metrics, self.heard.last_leader(), Instant::now(), self.timing) {
            // What Raft says of itself is as old as the write that it waits for.
            Standing::Leads if self.log.busy_for() > self.timing.in_touch() => Standing::Cut,
            standing => standing,
        }
    }

    /// Whether another shall lead.
    pub(crate) fn resigns(&self) -> bool {
        self.resigning.load(Relaxed)
    }

    pub(crate) fn leads(&self) -> bool {
        self.standing() == Standing::Leads
    }

    /// Why nobody decides: too few voters in touch, or only no leader yet. `sent` tells that a proposal may have
    /// reached somebody's log.
    pub(crate) fn undecided(&self, sent: bool) -> ProposeError {
        let roster = self.roster();
        let in_touch = self.watched.in_touch(&roster.voters, self.me());
        undecided(&roster, in_touch, sent)
    }

    /// What a leader says that has lost its quorum. Raft knows before the pings do, so their count may be too high.
    pub(crate) fn cut(&self, sent: bool) -> ProposeError {
        let roster = self.roster();
        let in_touch = self.watched.in_touch(&roster.voters, self.me()).min(roster.majority() - 1);
        ProposeError::NoQuorum { voters: roster.voters.len(), in_touch, sent }
    }
}

fn undecided(roster: &Roster, in_touch: usize, sent: bool) -> ProposeError {
    if in_touch < roster.majority() {
        ProposeError::NoQuorum { voters: roster.voters.len(), in_touch, sent }
    } else if sent {
        ProposeError::Timeout
    } else {
        ProposeError::NoLeader
    }
}

fn stand(metrics: &Metrics, heard: Option<Instant>, now: Instant, timing: Timing) -> Standing {
    if let Err(fatal) = &metrics.running_state {
        return Standing::Stopped(fatal.to_string());
    }
    if metrics.membership_config.nodes().next().is_none() {
        return Standing::NotReady;
    }
    let fresh = heard.is_some_and(|heard| now.duration_since(heard) <= timing.in_touch());
    match (metrics.state, metrics.millis_since_quorum_ack) {
        (ServerState::Leader, Some(millis)) if u128::from(millis) <= timing.in_touch().as_millis() => {
            Standing::Leads
        }
        (ServerState::Leader, Some(_)) => Standing::Cut,
        // Just elected: the first acknowledgement is on its way.
        (ServerState::Leader, None) => Standing::Leaderless,
        (ServerState::Shutdown, _) => Standing::Stopped("shut down".to_owned()),
        (ServerState::Learner | ServerState::Follower | ServerState::Candidate, _) => {
            match metrics.current_leader.and_then(agent) {
                Some(leader) if fresh => Standing::Follows(leader),
                _ => Standing::Leaderless,
            }
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("group", &self.options.group)
            .field("me", &self.me())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::{options::Profile, raft::StoredMembership};

    #[test]
    fn what_was_sent_is_never_told_as_not_made() {
        let voters = [1, 2, 3].map(AgentId::from_random).into();
        let roster = Roster { voters, ..Roster::default() };
        for in_touch in 1..=3 {
            assert!(undecided(&roster, in_touch, true).may_still_be_applied(), "{in_touch} in touch");
            assert!(!undecided(&roster, in_touch, false).may_still_be_applied(), "{in_touch} in touch");
        }
    }

    #[test]
    fn standing_follows_what_was_heard_and_when() {
        let (timing, now) = (Profile::Lan.timing(), Instant::now());
        let mut metrics = Metrics::new_initial(1);
        assert_eq!(stand(&metrics, None, now, timing), Standing::NotReady);

        let seats = std::collections::BTreeMap::from([(1, Seat::default()), (2, Seat::default())]);
        let membership = openraft::Membership::new(vec![BTreeSet::from([1, 2])], seats);
        metrics.membership_config = Arc::new(StoredMembership::new(None, membership));
        metrics.current_leader = Some(2);
        metrics.state = ServerState::Follower;
        assert_eq!(stand(&metrics, None, now, timing), Standing::Leaderless);
        let leader = agent(2).unwrap();
        assert_eq!(stand(&metrics, Some(now), now, timing), Standing::Follows(leader));
        let late = now + timing.in_touch() + Duration::from_millis(1);
        assert_eq!(stand(&metrics, Some(now), late, timing), Standing::Leaderless);

        metrics.state = ServerState::Leader;
        assert_eq!(stand(&metrics, None, now, timing), Standing::Leaderless);
        metrics.millis_since_quorum_ack = Some(100);
        assert_eq!(stand(&metrics, None, now, timing), Standing::Leads);
        metrics.millis_since_quorum_ack = Some(701);
        assert_eq!(stand(&metrics, None, now, timing), Standing::Cut);
    }
}
