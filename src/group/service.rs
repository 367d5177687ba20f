//! The Peer conversation, served by each member to the others.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status, Streaming};
use warren_core::{
    id::AgentId,
    state::{Level, Refusal},
};
use warren_wire::v1::{self, peer_server::Peer};

use crate::{
    ballot::visible_leader,
    change::{self, Newcomer},
    error::ProposeError,
    fence::{self, Call, Fenced, Mark},
    member::{Member, Standing},
    network::{CHUNK, SnapshotHead},
    options::Caller,
    propose::{self, Ask, Denied, write_denied},
    raft::{Seat, Snapshot, Types},
    resign,
    store::sha256,
};

/// The largest snapshot that is taken in; a group's state is a few MiB.
const SNAPSHOT_MAX: u64 = 512 << 20;
/// How long a sender of a snapshot may be silent.
const CHUNK_DEADLINE: Duration = Duration::from_secs(10);
/// How long a member waits for Raft to take in what a peer sent.
const RAFT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a forwarded proposal may wait here.
const PROPOSE_MAX: Duration = Duration::from_secs(60);
/// Longest name and address of a newcomer, in bytes.
const TEXT_MAX: usize = 256;

/// Answers the other members. Every call must carry a [`Caller`] of the same group and an envelope that names the
/// caller and this member.
#[derive(Debug, Clone)]
pub struct PeerService {
    member: Arc<Member>,
}

impl PeerService {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Self { member }
    }

    /// Who calls, if the call is for this member and from one of its group.
    fn caller<T>(&self, request: &Request<T>, envelope: Option<&v1::Envelope>) -> Result<AgentId, Status> {
        let caller = request.extensions().get::<Caller>().copied();
        self.heard(caller, envelope, false)
    }

    fn heard(
        &self,
        caller: Option<Caller>,
        envelope: Option<&v1::Envelope>,
        joins: bool,
    ) -> Result<AgentId, Status> {
        let (member, me) = (&self.member, self.member.me());
        let caller = check(caller, envelope, &member.options.group.to_string(), me)?;
        let v1::Envelope { epoch, from_log, to_log, .. } = envelope.cloned().unwrap_or_default();
        let seat = member.roster().seats.remove(&caller);
        let known = seat.as_ref().map_or(0, |seat| seat.log);
        let call = Call { caller, from: Mark { epoch, log: from_log }, to_log, known, joins };
        let passed = fence::check(me, member.log.mark(), call);
        if let Err(Fenced::Past { agent, group, .. }) = &passed
            && *agent == me
            && seat.is_some()
            && !self.has_left(caller)
        {
            // Only a member's word ends this member's part: others who hold a certificate could say anything.
            member.log.supersede(*group);
        }
        passed.map(|()| caller).map_err(Status::from)
    }

    /// A member without a log is of the epoch of whoever fills it.
    async fn adopt(&self, envelope: Option<&v1::Envelope>) -> Result<(), Status> {
        let epoch = envelope.map_or(0, |envelope| envelope.epoch);
        self.member.log.adopt(epoch).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Raft's own calls are for members. While in touch with its group, a member refuses those that its membership does
    /// not name; otherwise it may be what it knows that is out of date, and Raft's own rules decide. That somebody left
    /// for good is never out of date.
    fn of_the_group(&self, caller: AgentId) -> Result<(), Status> {
        self.takes_part()?;
        if self.member.roster().seats.contains_key(&caller) {
            return Ok(());
        }
        let in_touch = matches!(self.member.standing(), Standing::Leads | Standing::Follows(_));
        if in_touch || self.has_left(caller) {
            return Err(Status::permission_denied(format!("{caller} is not a member of this group")));
        }
        Ok(())
    }

    /// A member whose log has stopped must not look alive to those who count on it, nor let their calls pile up.
    fn takes_part(&self) -> Result<(), Status> {
        match self.member.standing() {
            Standing::Stopped(cause) => Err(Status::unavailable(cause)),
            _ => Ok(()),
        }
    }

    /// Reads what is to go into the log. A member that does not know what another of its group knows must not go on
    /// without it, nor without a word.
    async fn understood<T: DeserializeOwned>(&self, caller: AgentId, payload: &[u8]) -> Result<T, Status> {
        let unknown = match serde_json::from_slice(payload) {
            Ok(read) => return Ok(read),
            Err(unknown) => unknown,
        };
        let told = unreadable(&unknown);
        if unknown.is_data() && self.member.roster().seats.contains_key(&caller) {
            self.member.log.give_up(&format!("what {caller} writes"), unknown).await;
        }
        Err(told)
    }

    fn has_left(&self, caller: AgentId) -> bool {
        self.member.state().departed.contains(&caller)
    }

    fn joining(&self, request: v1::JoinRequest, agent: AgentId) -> Result<Newcomer, Status> {
        let v1::JoinRequest { envelope, name, peer_address, version, level } = request;
        let fits = |text: &str| text.len() <= TEXT_MAX;
        let port =
            peer_address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if !port.is_some_and(|(host, port)| !host.is_empty() && port != 0) {
            return Err(Status::invalid_argument(format!(
                "`{peer_address}` is no host:port to be reached at"
            )));
        }
        if !(fits(&name) && fits(&peer_address) && fits(&version)) {
            return Err(Status::invalid_argument("name, address or version is too long"));
        }
        let log = envelope.map_or(0, |envelope| envelope.from_log);
        let seat = Seat { address: peer_address, name, log };
        Ok(Newcomer { agent, seat, version, level: Level::known_to(level) })
    }

    fn leader_hint(&self) -> v1::JoinResponse {
        let roster = self.member.roster();
        let leader = visible_leader(&self.member).and_then(|leader| {
            let seat = roster.seats.get(&leader)?;
            Some(v1::PeerAddress { id: leader.to_string(), address: seat.address.clone() })
        });
        v1::JoinResponse { outcome: Some(v1::join_response::Outcome::NotLeader(v1::LeaderHint { leader })) }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn append(&self, request: Request<v1::RaftMessage>) -> Result<Response<v1::RaftReply>, Status> {
        let caller = self.caller(&request, request.get_ref().envelope.as_ref())?;
        self.of_the_group(caller)?;
        self.adopt(request.get_ref().envelope.as_ref()).await?;
        let rpc: AppendEntriesRequest<Types> = self.understood(caller, &request.get_ref().payload).await?;
        let answer = within(self.member.raft.append_entries(rpc)).await?.map_err(stopped)?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.member.heard.leader(Instant::now());
        }
        reply(&answer)
    }

    async fn vote(&self, request: Request<v1::RaftMessage>) -> Result<Response<v1::RaftReply>, Status> {
        let caller = self.caller(&request, request.get_ref().envelope.as_ref())?;
        self.of_the_group(caller)?;
        let rpc: VoteRequest<u64> = read(&request.get_ref().payload)?;
        let answer = within(self.member.raft.vote(rpc)).await?.map_err(stopped)?;
        if answer.vote_granted {
            self.member.heard.calm(Instant::now());
        }
        reply(&answer)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::RaftReply>, Status> {
        let (_, extensions, mut chunks) = request.into_parts();
        let first = next(&mut chunks).await?.ok_or_else(|| Status::invalid_argument("empty snapshot"))?;
        let caller = extensions.get::<Caller>().copied();
        let caller = self.heard(caller, first.envelope.as_ref(), false)?;
        self.of_the_group(caller)?;
        self.adopt(first.envelope.as_ref()).await?;
        let head: SnapshotHead = read(&first.head)?;
        tracing::info!(from = %caller, bytes = first.size, "snapshot comes in");
        let data = gather(first, &mut chunks).await?;
        self.member.heard.leader(Instant::now());
        let snapshot = Snapshot { meta: head.meta, snapshot: Box::new(data) };
        let answer = within(self.member.raft.install_full_snapshot(head.vote, snapshot)).await?;
        reply(&answer.map_err(stopped)?)
    }

    async fn propose(&self, request: Request<v1::PeerProposal>) -> Result<Response<v1::PeerAnswer>, Status> {
        use v1::peer_answer::Outcome;
        let caller = self.caller(&request, request.get_ref().envelope.as_ref())?;
        self.of_the_group(caller)?;
        let ask: Ask = read(&request.get_ref().proposal)?;
        let wait = Duration::from_millis(request.get_ref().timeout_ms.into()).min(PROPOSE_MAX);
        let deadline = Instant::now() + wait;
        let told = match self.member.room.try_acquire() {
            Ok(_room) => propose::decide(&self.member, &ask, deadline).await,
            Err(_) => Err(Denied::Final(ProposeError::Busy)),
        };
        let outcome = match told {
            Ok(told) => Outcome::Answer(write(&told)?),
            Err(denied) => Outcome::Failed(write_denied(&denied)),
        };
        Ok(Response::new(v1::PeerAnswer { outcome: Some(outcome) }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        use v1::join_response::Outcome;
        let caller = request.extensions().get::<Caller>().copied();
        let caller = self.heard(caller, request.get_ref().envelope.as_ref(), true)?;
        let newcomer = self.joining(request.into_inner(), caller)?;
        let refused = |refusal: Refusal| {
            Ok(Response::new(v1::JoinResponse { outcome: Some(Outcome::Refused(refusal.to_string())) }))
        };
        // Whoever knows it says so, be it a follower: nobody else would say otherwise.
        if self.has_left(caller) {
            return refused(Refusal::Departed(caller));
        }
        if self.member.roster().seats.contains_key(&caller) {
            self.member.pool.learn(caller, &newcomer.seat.address);
        }
        if !self.member.leads() {
            return Ok(Response::new(self.leader_hint()));
        }
        let deadline = Instant::now() + change::CHANGE_DEADLINE;
        let outcome = match change::admit(&self.member, &newcomer, deadline).await {
            Ok(Err(refusal)) => return refused(refusal),
            Ok(Ok(roster)) => {
                let peers = roster.seats.into_iter();
                let peers =
                    peers.map(|(id, seat)| v1::PeerAddress { id: id.to_string(), address: seat.address });
                Outcome::Joined(v1::Joined { peers: peers.collect() })
            }
            Err(Denied::NotLeader { .. } | Denied::Unreached(_)) => {
                return Ok(Response::new(self.leader_hint()));
            }
            Err(Denied::Final(error)) => return Err(Status::unavailable(error.to_string())),
        };
        Ok(Response::new(v1::JoinResponse { outcome: Some(outcome) }))
    }

    async fn hand_over(
        &self,
        request: Request<v1::HandOverRequest>,
    ) -> Result<Response<v1::HandOverResponse>, Status> {
        let caller = self.caller(&request, request.get_ref().envelope.as_ref())?;
        self.of_the_group(caller)?;
        let v1::HandOverRequest { to, term, .. } = request.into_inner();
        let heir = to.parse().map_err(|_| Status::invalid_argument(format!("`{to}` is no agent id")))?;
        resign::take(&self.member, caller, heir, term).await?;
        Ok(Response::new(v1::HandOverResponse {}))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        let caller = self.caller(&request, request.get_ref().envelope.as_ref())?;
        self.takes_part()?;
        let now = Instant::now();
        self.member.watched.called(caller, now);
        let term = self.member.raft.metrics().borrow().current_term;
        let last_log = self.member.log.last().map(|last| write(&last)).transpose()?;
        Ok(Response::new(v1::PingResponse {
            term,
            leader: visible_leader(&self.member).map(|leader| leader.to_string()).unwrap_or_default(),
            applied: self.member.current.borrow().applied.map_or(0, |id| id.index),
            hears: self.member.watched.hears(now).iter().map(ToString::to_string).collect(),
            last_log: last_log.unwrap_or_default(),
            leaving: self.member.leaving.load(Relaxed),
            level: self.member.tuning.level.number(),
        }))
    }
}

fn check(
    caller: Option<Caller>,
    envelope: Option<&v1::Envelope>,
    group: &str,
    me: AgentId,
) -> Result<AgentId, Status> {
    let caller = caller.ok_or_else(|| Status::permission_denied("no verified certificate"))?;
    if caller.group.to_string() != group {
        return Err(Status::permission_denied(format!("certificate is of {}, not of {group}", caller.group)));
    }
    let envelope = envelope.ok_or_else(|| Status::invalid_argument("no envelope"))?;
    if envelope.group != group {
        return Err(Status::failed_precondition(format!(
            "this is a member of {group}, not of {}",
            envelope.group
        )));
    }
    if envelope.from != caller.agent.to_string() {
        let told = format!("certificate is of {}, the call says {}", caller.agent, envelope.from);
        return Err(Status::permission_denied(told));
    }
    if envelope.to != me.to_string() {
        return Err(Status::failed_precondition(format!("this is {me}, not {}", envelope.to)));
    }
    Ok(caller.agent)
}

async fn next(chunks: &mut Streaming<v1::SnapshotChunk>) -> Result<Option<v1::SnapshotChunk>, Status> {
    let chunk = timeout(CHUNK_DEADLINE, chunks.message()).await;
    chunk.map_err(|_| Status::deadline_exceeded("the sender of the snapshot fell silent"))?
}

/// Puts a snapshot together, never larger than its sender said that it is.
async fn gather(
    first: v1::SnapshotChunk,
    chunks: &mut Streaming<v1::SnapshotChunk>,
) -> Result<Bytes, Status> {
    let wrong = |what: &str| Status::invalid_argument(format!("snapshot has {what}"));
    let size = usize::try_from(first.size).ok().filter(|_| first.size <= SNAPSHOT_MAX);
    let size = size.ok_or_else(|| Status::resource_exhausted("snapshot is too large"))?;
    // What the sender claims is not yet worth memory: grow with what comes.
    let mut data = BytesMut::with_capacity(size.min(CHUNK));
    data.extend_from_slice(&first.data);
    while let Some(chunk) = next(chunks).await? {
        if data.len() + chunk.data.len() > size {
            return Err(wrong("more data than it said"));
        }
        data.extend_from_slice(&chunk.data);
    }
    if data.len() != size {
        return Err(wrong("less data than it said"));
    }
    if sha256(&data) != first.sha256 {
        return Err(wrong("another digest than it said"));
    }
    Ok(data.freeze())
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Status> {
    timeout(RAFT_DEADLINE, work).await.map_err(|_| Status::deadline_exceeded("the log is busy"))
}

fn stopped(error: impl std::error::Error) -> Status {
    Status::unavailable(error.to_string())
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(payload).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Status {
    Status::invalid_argument(format!("message cannot be read: {error}"))
}

fn write<T: Serialize>(value: &T) -> Result<Bytes, Status> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|e| Status::internal(e.to_string()))
}

fn reply<T: Serialize>(value: &T) -> Result<Response<v1::RaftReply>, Status> {
    Ok(Response::new(v1::RaftReply { payload: write(value)? }))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use warren_core::id::GroupId;

    use super::*;

    #[test]
    fn only_a_call_of_the_same_group_to_this_member_passes() {
        let (ours, theirs) = (GroupId::from_random(1), GroupId::from_random(2));
        let (me, peer, other) = (AgentId::from_random(1), AgentId::from_random(2), AgentId::from_random(3));
        let judge = |caller: Option<(GroupId, AgentId)>, group: GroupId, from: AgentId, to: AgentId| {
            let (group, from, to) = (group.to_string(), from.to_string(), to.to_string());
            let envelope = v1::Envelope { group, from, to, ..Default::default() };
            let caller = caller.map(|(group, agent)| Caller { group, agent });
            check(caller, Some(&envelope), &ours.to_string(), me).map_err(|status| status.code())
        };
        assert_eq!(judge(Some((ours, peer)), ours, peer, me), Ok(peer));
        assert_eq!(judge(None, ours, peer, me), Err(Code::PermissionDenied));
        assert_eq!(judge(Some((theirs, peer)), ours, peer, me), Err(Code::PermissionDenied));
        assert_eq!(judge(Some((ours, other)), ours, peer, me), Err(Code::PermissionDenied));
        assert_eq!(judge(Some((ours, peer)), theirs, peer, me), Err(Code::FailedPrecondition));
        assert_eq!(judge(Some((ours, peer)), ours, peer, other), Err(Code::FailedPrecondition));
        let caller = Caller { group: ours, agent: peer };
        assert_eq!(
            check(Some(caller), None, &ours.to_string(), me).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}
