//! Becoming a member: as the first one, or through those that are.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use openraft::error::{InitializeError, RaftError};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request};
use warren_core::id::AgentId;
use warren_wire::v1::{JoinRequest, join_response::Outcome};

use crate::{
    change::{self, Newcomer},
    error::JoinError,
    member::{Member, Standing},
    propose::Denied,
};

/// How long founding may take: one entry on an own disk.
const FOUND_DEADLINE: Duration = Duration::from_secs(15);
/// How long founding waits for the first election before it goes on as any other joining does.
const FIRST_VOTE: Duration = Duration::from_secs(1);
/// How long one member may take to let another in.
const ASK_DEADLINE: Duration = Duration::from_secs(6);
/// Pause between two rounds of asking.
const RETRY: Duration = Duration::from_millis(300);
/// Members asked per round, with the leaders that they name.
const ASKS_MAX: usize = 32;

/// Makes this agent the first member.
pub(crate) async fn found(member: &Arc<Member>) -> Result<(), JoinError> {
    let started = Instant::now();
    let deadline = started + FOUND_DEADLINE;
    let seats: std::collections::BTreeMap<_, _> = [(member.me().number(), member.seat())].into();
    let initialized = timeout_at(deadline, member.raft.initialize(seats)).await;
    match initialized.map_err(|_| JoinError::Timeout { last: "the own disk is too slow".to_owned() })? {
        Ok(()) => tracing::info!(group = %member.options.group, me = %member.me(), "group is founded"),
        Err(RaftError::APIError(InitializeError::NotAllowed(_)))
            if member.roster().seats.contains_key(&member.me()) => {}
        Err(RaftError::APIError(_)) => return Err(JoinError::AlreadyMember),
        Err(RaftError::Fatal(fatal)) => return Err(JoinError::Stopped(fatal.to_string())),
    }
    // The own vote takes one write to the disk.
    while !member.leads() && Instant::now() < started + FIRST_VOTE {
        sleep(FIRST_VOTE / 50).await;
    }
    join(member, &[], deadline).await
}

/// Becomes a member, or announces a returning one.
pub(crate) async fn join(
    member: &Arc<Member>,
    peers: &[(AgentId, String)],
    deadline: Instant,
) -> Result<(), JoinError> {
    loop {
        let last = match round(member, peers, deadline).await {
            Round::In => break,
            Round::Again(reason) => reason,
            Round::Never(error) => return Err(error),
        };
        let pause = RETRY.mul_f64(rand::random_range(0.5..1.5));
        if Instant::now() + pause >= deadline {
            return Err(JoinError::Timeout { last });
        }
        if member.stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return Err(JoinError::Stopped("shut down".to_owned()));
        }
    }
    let me = member.me();
    let mut current = member.current.clone();
    let seated = current.wait_for(|current| {
        current.membership.membership().get_node(&me.number()).is_some()
            && current.state.members.contains_key(&me)
    });
    match timeout_at(deadline, seated).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(JoinError::Stopped("the log has stopped".to_owned())),
        Err(_) => {
            Err(JoinError::Timeout { last: "let in, but the log does not arrive at this member".to_owned() })
        }
    }
}

enum Round {
    In,
    Again(String),
    Never(JoinError),
}

/// Asks everybody that is known once, leaders first.
async fn round(member: &Arc<Member>, peers: &[(AgentId, String)], deadline: Instant) -> Round {
    match member.standing() {
        // A leader lets itself in.
        Standing::Leads => return admit_self(member, deadline).await,
        Standing::Stopped(cause) => return Round::Never(JoinError::Stopped(cause)),
        Standing::NotReady | Standing::Cut | Standing::Follows(_) | Standing::Leaderless => {}
    }
    let mut asking = candidates(member, peers);
    if asking.is_empty() {
        return if member.log.is_used() {
            Round::Again("no leader yet".to_owned())
        } else {
            Round::Never(JoinError::NoPeers)
        };
    }
    let mut last = "nothing".to_owned();
    let mut asked = 0;
    while let Some((peer, address)) = asking.pop_front() {
        asked += 1;
        if asked > ASKS_MAX || Instant::now() >= deadline {
            break;
        }
        match ask(member, peer, &address, deadline).await {
            Said::In => return Round::In,
            Said::Leader(leader) => {
                last = format!("{peer} names {} as the leader", leader.0);
                // Each peer names at most one, so the round ends.
                if leader.0 != member.me() {
                    asking.retain(|(other, _)| *other != leader.0);
                    asking.push_front(leader);
                }
            }
            Said::No(reason) => last = format!("{peer}: {reason}"),
            Said::Never(reason) => return Round::Never(JoinError::Refused { peer, reason }),
        }
    }
    Round::Again(last)
}

async fn admit_self(member: &Arc<Member>, deadline: Instant) -> Round {
    let (version, level) = (member.options.version.clone(), member.tuning.level);
    let newcomer = Newcomer { agent: member.me(), seat: member.seat(), version, level };
    match change::admit(member, &newcomer, deadline).await {
        Ok(Ok(_)) => Round::In,
        Ok(Err(refusal)) => {
            Round::Never(JoinError::Refused { peer: member.me(), reason: refusal.to_string() })
        }
        Err(Denied::NotLeader { .. }) => Round::Again("the leader changed".to_owned()),
        Err(Denied::Unreached(error) | Denied::Final(error)) => Round::Again(error.to_string()),
    }
}

/// The leader that is known, then the members that the log knows, then those that were named.
fn candidates(member: &Member, peers: &[(AgentId, String)]) -> VecDeque<(AgentId, String)> {
    let leader = match member.standing() {
        Standing::Follows(leader) => Some(leader),
        _ => None,
    };
    let mut all: VecDeque<(AgentId, String)> =
        peers.iter().filter(|(peer, _)| *peer != member.me()).cloned().collect();
    for (peer, seat) in member.roster().seats {
        let candidate = (peer, seat.address);
        if peer == member.me() || all.contains(&candidate) {
            continue;
        }
        if Some(peer) == leader { all.push_front(candidate) } else { all.push_back(candidate) }
    }
    all
}

/// What one member said.
enum Said {
    In,
    Leader((AgentId, String)),
    No(String),
    Never(String),
}

async fn ask(member: &Member, peer: AgentId, address: &str, deadline: Instant) -> Said {
    let mut request = Request::new(JoinRequest {
        envelope: member.pool.envelope(peer, member.log.mark(), 0),
        name: member.options.name.clone(),
        peer_address: member.options.peer_address.clone(),
        version: member.options.version.clone(),
        level: member.tuning.level.number(),
    });
    request.set_timeout(ASK_DEADLINE);
    let mut client = member.pool.stranger(peer, address);
    let answer = timeout_at(deadline.min(Instant::now() + ASK_DEADLINE), client.join(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) if matches!(status.code(), Code::PermissionDenied | Code::InvalidArgument) => {
            if member.roster().seats.contains_key(&peer) {
                member.log.heed(&status);
            }
            return Said::Never(status.message().to_owned());
        }
        Ok(Err(status)) => return Said::No(status.message().to_owned()),
        Err(_) => return Said::No("no answer in time".to_owned()),
    };
    // Its certificate and the envelope proved who answers there.
    if member.roster().seats.contains_key(&peer) {
        member.pool.learn(peer, address);
    }
    match answer.outcome {
        Some(Outcome::Joined(_)) => Said::In,
        Some(Outcome::NotLeader(hint)) => match hint.leader {
            Some(leader) => match leader.id.parse() {
                Ok(id) => Said::Leader((id, leader.address)),
                Err(_) => Said::No(format!("names `{}` as the leader", leader.id)),
            },
            None => Said::No("it knows no leader".to_owned()),
        },
        Some(Outcome::Refused(reason)) => Said::Never(reason),
        None => Said::No("it said nothing".to_owned()),
    }
}
