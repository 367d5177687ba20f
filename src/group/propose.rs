//! The path of a proposal, from any member to the leader's log and back.
//!
//! ```text
//!  Group::propose ──▶ ask ──┬── I lead ───────▶ decide ──▶ Raft (append, quorum, apply) ──▶ answer
//!                           ├── I follow L ───▶ forward ──▶ L.decide ──▶ answer
//!                           └── nobody leads ─▶ wait a little, then again, until the deadline
//! ```
//! Whatever fails on the way is asked again under the same request id, which the state machine applies once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openraft::error::{ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Request;
use warren_core::{
    id::AgentId,
    state::{Accepted, Answer, Command, Proposal, Refusal, RequestId},
};
use warren_wire::v1::{PeerProposal, peer_answer::Outcome};

use crate::{
    change,
    error::ProposeError,
    member::{Member, Standing},
    raft::Applied,
};

/// Pause before the next try.
const RETRY: Duration = Duration::from_millis(20);
/// A follower leaves the leader this much less than it has itself, to hear of its failure.
const WAY_BACK: Duration = Duration::from_millis(20);

/// What one member may ask of the leader; travels as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Propose(Proposal),
    /// Out of the records, the voters and the learners, for good.
    Remove {
        request: RequestId,
        author: String,
        member: AgentId,
    },
    /// Up to where a member must have applied the log to know all that is decided by now.
    Barrier,
}

/// What the leader says; travels as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Answer(Answer),
    Barrier { index: u64 },
}

/// Why there is no answer (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Not the leader, or no longer.
    NotLeader {
        sent: bool,
    },
    /// The leader did not answer; it may have got the question.
    Unreached(ProposeError),
    Final(ProposeError),
}

/// Asks whoever leads, until there is an answer or no hope in time.
pub(crate) async fn ask(member: &Arc<Member>, ask: Ask, deadline: Instant) -> Result<Told, ProposeError> {
    let Ok(_room) = member.room.try_acquire() else { return Err(ProposeError::Busy) };
    let started = Instant::now();
    let (mut sent, mut unreached) = (false, None);
    loop {
        let denied = match member.standing() {
            Standing::NotReady => Denied::Final(ProposeError::NotReady),
            Standing::Stopped(cause) => Denied::Final(ProposeError::Stopped(cause)),
            Standing::Leads | Standing::Cut => match decide(member, &ask, deadline).await {
                Ok(told) => return Ok(told),
                Err(denied) => denied,
            },
            Standing::Follows(leader) => match forward(member, leader, &ask, deadline).await {
                Ok(told) => return Ok(told),
                Err(denied) => denied,
            },
            Standing::Leaderless => Denied::NotLeader { sent: false },
        };
        let waited = Instant::now() >= deadline || started.elapsed() >= member.timing.patience();
        match denied {
            // A leader that was held up for a moment has its quorum back in the next, or is followed by another.
            Denied::Final(ProposeError::NoQuorum { voters, in_touch, sent: reached }) => {
                sent |= reached;
                if waited {
                    return Err(ProposeError::NoQuorum { voters, in_touch, sent });
                }
            }
            // What an earlier try has sent is not taken back by what a later one says.
            Denied::Final(error) if sent && !error.may_still_be_applied() => {
                return Err(ProposeError::Timeout);
            }
            Denied::Final(error) => return Err(error),
            Denied::NotLeader { sent: reached } => sent |= reached,
            Denied::Unreached(error) => {
                sent = true;
                unreached = Some(error);
            }
        }
        let now = Instant::now();
        if member.standing() == Standing::Leaderless {
            // With a majority in touch a leader will come; without, waiting longer is of no use.
            let undecided = member.undecided(sent);
            let hopeless = matches!(undecided, ProposeError::NoQuorum { .. });
            if now >= deadline || (hopeless && now.duration_since(started) >= member.timing.patience()) {
                return Err(undecided);
            }
        }
        if now >= deadline {
            return Err(match unreached {
                Some(error) => error,
                None if sent => ProposeError::Timeout,
                None => ProposeError::NoLeader,
            });
        }
        tokio::select! {
            // The leader that was named may be the one that just died: never faster than the pause.
            () = sleep(RETRY.min(deadline - now)) => {}
            () = member.stop.cancelled() => return Err(ProposeError::Stopped("shut down".to_owned())),
        }
    }
}

/// Decides as the leader.
pub(crate) async fn decide(member: &Arc<Member>, ask: &Ask, deadline: Instant) -> Result<Told, Denied> {
    match member.standing() {
        // Who leads next will take it.
        Standing::Leads if member.resigns() => return Err(Denied::NotLeader { sent: false }),
        Standing::Leads => {}
        Standing::Cut => return Err(Denied::Final(member.cut(false))),
        Standing::Stopped(cause) => return Err(Denied::Final(ProposeError::Stopped(cause))),
        Standing::NotReady | Standing::Follows(_) | Standing::Leaderless => {
            return Err(Denied::NotLeader { sent: false });
        }
    }
    match ask {
        Ask::Propose(proposal) => {
            let (needs, level) = (proposal.command.level(), member.state().level);
            if needs > level {
                return Ok(Told::Answer(Err(Refusal::Level { needs, level })));
            }
            write(member, proposal.clone(), deadline).await.map(Told::Answer)
        }
        Ask::Remove { request, author, member: leaver } => {
            change::remove(member, *request, author, *leaver, deadline).await.map(Told::Answer)
        }
        Ask::Barrier => barrier(member, deadline).await.map(|index| Told::Barrier { index }),
    }
}

/// Writes a proposal as the leader; it is applied here when this returns.
pub(crate) async fn write(
    member: &Arc<Member>,
    mut proposal: Proposal,
    deadline: Instant,
) -> Result<Answer, Denied> {
    proposal.at_ms = now_ms();
    let written = while_leading(member, deadline, member.raft.client_write(proposal)).await?;
    match written {
        Ok(response) => match response.data {
            Applied(Some(answer)) => Ok(answer),
            // Only entries of Raft's own have no answer, and this was none.
            Applied(None) => Err(Denied::NotLeader { sent: true }),
        },
        Err(error) => Err(denied(error)),
    }
}

/// A command of this member's own, as opposed to one that somebody asked for.
pub(crate) async fn write_own(
    member: &Arc<Member>,
    command: Command,
    deadline: Instant,
) -> Result<Answer, Denied> {
    let author = format!("agent {}", member.me());
    let proposal = Proposal { request: RequestId(rand::random()), author, at_ms: 0, command };
    write(member, proposal, deadline).await
}

/// Waits for something of Raft's as long as it can come: a future of Raft's may hang when the leader loses its title or
/// its quorum on the way.
pub(crate) async fn while_leading<T>(
    member: &Member,
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Denied> {
    let lost = async {
        loop {
            sleep(RETRY).await;
            match member.standing() {
                Standing::Leads => {}
                Standing::Cut => return Denied::Final(member.cut(true)),
                Standing::Stopped(cause) => return Denied::Final(ProposeError::Stopped(cause)),
                Standing::NotReady | Standing::Follows(_) | Standing::Leaderless => {
                    return Denied::NotLeader { sent: true };
                }
            }
        }
    };
    tokio::select! {
        biased;
        done = timeout_at(deadline, work) => done.map_err(|_| Denied::Final(ProposeError::Timeout)),
        denied = lost => Err(denied),
    }
}

pub(crate) fn denied<N: openraft::Node>(error: RaftError<u64, ClientWriteError<u64, N>>) -> Denied {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Denied::NotLeader { sent: true },
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            tracing::warn!(%error, "membership cannot be changed now");
            Denied::Final(ProposeError::Busy)
        }
        RaftError::Fatal(fatal) => Denied::Final(ProposeError::Stopped(fatal.to_string())),
    }
}

/// Proves that this member leads still, and says how far the log had come.
async fn barrier(member: &Arc<Member>, deadline: Instant) -> Result<u64, Denied> {
    let proof = while_leading(member, deadline, member.raft.ensure_linearizable()).await?;
    match proof {
        Ok(log_id) => Ok(log_id.map_or(0, |id| id.index)),
        Err(RaftError::Fatal(fatal)) => Err(Denied::Final(ProposeError::Stopped(fatal.to_string()))),
        Err(RaftError::APIError(_)) => Err(Denied::NotLeader { sent: false }),
    }
}

/// Asks the leader once.
async fn forward(member: &Member, leader: AgentId, ask: &Ask, deadline: Instant) -> Result<Told, Denied> {
    let reason = |reason: String| Denied::Unreached(ProposeError::Transport { leader, reason });
    let Some(seat) = member.roster().seats.remove(&leader) else {
        return Err(Denied::NotLeader { sent: false });
    };
    let proposal = serde_json::to_vec(ask).map_err(|e| reason(e.to_string()))?.into();
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(WAY_BACK);
    let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
    let envelope = member.pool.envelope(leader, member.log.mark(), seat.log);
    let mut request = Request::new(PeerProposal { envelope, proposal, timeout_ms });
    request.set_timeout(left + WAY_BACK);
    let mut client = member.pool.client(leader, &seat.address);
    // A leader that died with our question is noticed by its silence, long before the deadline.
    let lost = async {
        while member.standing() == Standing::Follows(leader) {
            sleep(RETRY).await;
        }
    };
    let answer = tokio::select! {
        biased;
        answer = timeout_at(deadline, client.propose(request)) => answer,
        () = lost => {
            member.pool.outcome(leader, false);
            return Err(reason("it fell silent".to_owned()));
        }
    };
    let Ok(answer) = answer else { return Err(Denied::Final(ProposeError::Timeout)) };
    member.pool.outcome(leader, answer.is_ok());
    let outcome = answer
        .inspect_err(|refused| member.log.heed(refused))
        .map_err(|status| reason(status.message().to_owned()))?
        .into_inner()
        .outcome;
    match outcome {
        Some(Outcome::Answer(answer)) => serde_json::from_slice(&answer).map_err(|e| reason(e.to_string())),
        Some(Outcome::Failed(word)) => Err(read_denied(&word)),
        None => Err(reason("it said nothing".to_owned())),
    }
}

/// How a denial travels: a word, and for a quorum the voters in touch of all.
pub(crate) fn write_denied(denied: &Denied) -> String {
    match denied {
        Denied::NotLeader { .. } | Denied::Unreached(_) => "not_leader".to_owned(),
        Denied::Final(error) => match error {
            ProposeError::NoQuorum { voters, in_touch, sent } => {
                format!("no_quorum {in_touch}/{voters}{}", if *sent { " sent" } else { "" })
            }
            ProposeError::WouldLoseQuorum { voters, in_touch } => {
                format!("would_lose_quorum {in_touch}/{voters}")
            }
            other => other.reason().to_owned(),
        },
    }
}

fn read_denied(text: &str) -> Denied {
    let mut words = text.split(' ');
    let reason = words.next().unwrap_or_default();
    let counts = words.next().and_then(|counts| counts.split_once('/'));
    let (in_touch, voters) = counts
        .map_or((0, 0), |(in_touch, voters)| (in_touch.parse().unwrap_or(0), voters.parse().unwrap_or(0)));
    let sent = words.next() == Some("sent");
    match reason {
        "no_quorum" => Denied::Final(ProposeError::NoQuorum { voters, in_touch, sent }),
        "would_lose_quorum" => Denied::Final(ProposeError::WouldLoseQuorum { voters, in_touch }),
        "timeout" => Denied::Final(ProposeError::Timeout),
        "busy" => Denied::Final(ProposeError::Busy),
        // A leader that stops is no longer one; what a newer program says that we do not know is worth another try.
        _ => Denied::NotLeader { sent: true },
    }
}

/// The result as a metric label.
pub(crate) fn result_word(result: &Result<Answer, ProposeError>) -> &'static str {
    match result {
        Ok(Ok(Accepted { .. })) => "applied",
        Ok(Err(_)) => "refused",
        Err(error) => error.reason(),
    }
}

/// By this member's clock; goes into the log when it leads.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_read_back() {
        let errors = [
            ProposeError::NoQuorum { voters: 5, in_touch: 2, sent: true },
            ProposeError::NoQuorum { voters: 3, in_touch: 1, sent: false },
            ProposeError::WouldLoseQuorum { voters: 2, in_touch: 1 },
            ProposeError::Timeout,
            ProposeError::Busy,
        ];
        for error in errors {
            let denied = Denied::Final(error);
            assert_eq!(read_denied(&write_denied(&denied)), denied);
        }
        let denied = Denied::NotLeader { sent: true };
        assert_eq!(read_denied(&write_denied(&denied)), denied);
        assert_eq!(read_denied("something newer"), Denied::NotLeader { sent: true });
    }

    #[test]
    fn what_is_asked_reads_back() {
        let command = Command::Leave { member: AgentId::from_random(3) };
        let proposal = Proposal { request: RequestId(1), author: "ann".into(), at_ms: 2, command };
        let json = serde_json::to_string(&Ask::Propose(proposal.clone())).unwrap();
        assert!(matches!(serde_json::from_str(&json).unwrap(), Ask::Propose(read) if read == proposal));
        let json = serde_json::to_string(&Ask::Barrier).unwrap();
        assert_eq!(json, "\"barrier\"");
    }
}
