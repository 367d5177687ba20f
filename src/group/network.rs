//! How Raft reaches the other members: each call over the pooled connection, under a deadline, in an envelope.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RPCTypes},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tonic::{Request, Status};
use warren_core::id::AgentId;
use warren_wire::v1;

use crate::{
    pool::{MESSAGE_MAX, Pool},
    raft::{Fatal, Seat, Snapshot, SnapshotMeta, Types, Vote, agent},
    store::{LogStore, sha256},
};

/// Bytes of a snapshot per message.
pub(crate) const CHUNK: usize = 1 << 20;
/// Pause before a member that could not be reached is tried again; below every election timeout, so that a member that
/// is back hears of its leader before it stands for election.
const RETRY: Duration = Duration::from_millis(150);

type CallError<E> = RPCError<u64, Seat, RaftError<u64, E>>;
type Plain = openraft::error::Infallible;

/// Makes the connections that Raft asks for.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) pool: Arc<Pool>,
    pub(crate) log: LogStore,
    pub(crate) me: AgentId,
}

/// The way to one member.
#[derive(Debug)]
pub(crate) struct Connection {
    pool: Arc<Pool>,
    log: LogStore,
    me: AgentId,
    id: u64,
    seat: Seat,
}

/// What stands before a snapshot's data.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, seat: &Seat) -> Connection {
        let (pool, log) = (self.pool.clone(), self.log.clone());
        Connection { pool, log, me: self.me, id: target, seat: seat.clone() }
    }
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError<Plain>> {
        let payload = encode(&rpc)?;
        if payload.len() > MESSAGE_MAX * 9 / 10 && rpc.entries.len() > 1 {
            return Err(PayloadTooLarge::new_entries_hint(rpc.entries.len() as u64 / 2).into());
        }
        self.call(RPCTypes::AppendEntries, payload, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError<Plain>> {
        let payload = encode(&rpc)?;
        self.call(RPCTypes::Vote, payload, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal>> {
        let unreachable = |status: Status| StreamingError::Unreachable(Unreachable::new(&status));
        let peer = self.peer().map_err(unreachable)?;
        let head = encode(&SnapshotHead { vote, meta: snapshot.meta })?;
        let chunks = chunks(self.envelope(peer), head, *snapshot.snapshot);
        let mut client = self.pool.client(peer, &self.seat.address);
        let send = timeout(option.hard_ttl(), client.snapshot(tokio_stream::iter(chunks)));
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = send => sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("snapshot took too long"))),
        };
        self.pool.outcome(peer, sent.is_ok());
        let reply = sent.inspect_err(|refused| self.log.heed(refused)).map_err(unreachable)?.into_inner();
        Ok(decode(&reply.payload).map_err(|e| Unreachable::new(&e))?)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY))
    }
}

impl Connection {
    fn peer(&self) -> Result<AgentId, Status> {
        // Raft waits for the disk and does not know that it waits. A leader that cannot write must fall silent, so that the
        // others find one that can.
        if let Some(trouble) = self.log.trouble() {
            return Err(Status::unavailable(trouble.to_string()));
        }
        let peer =
            agent(self.id).ok_or_else(|| Status::internal("the log names a member that is no agent"))?;
        // A member that dials itself waits for itself.
        if peer == self.me { Err(Status::internal("a member does not call itself")) } else { Ok(peer) }
    }

    fn envelope(&self, peer: AgentId) -> Option<v1::Envelope> {
        self.pool.envelope(peer, self.log.mark(), self.seat.log)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: RPCTypes,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<T, CallError<Plain>> {
        // Every refusal counts as unreachable: Raft then pauses, where it would try again at once otherwise.
        let unreachable = |status: Status| RPCError::Unreachable(Unreachable::new(&status));
        let peer = self.peer().map_err(unreachable)?;
        let mut client = self.pool.client(peer, &self.seat.address);
        let message = v1::RaftMessage { envelope: self.envelope(peer), payload: payload.into() };
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        let called = timeout(deadline, async {
            match action {
                RPCTypes::Vote => client.vote(request).await,
                RPCTypes::AppendEntries | RPCTypes::InstallSnapshot => client.append(request).await,
            }
        });
        let Ok(called) = called.await else {
            self.pool.outcome(peer, false);
            let (id, target) = (self.me.number(), self.id);
            return Err(Timeout { action, id, target, timeout: deadline }.into());
        };
        self.pool.outcome(peer, called.is_ok());
        let reply = called.inspect_err(|refused| self.log.heed(refused)).map_err(unreachable)?.into_inner();
        decode(&reply.payload).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Unreachable> {
    serde_json::to_vec(value).map_err(|e| Unreachable::new(&e))
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(payload)
}

fn chunks(
    envelope: Option<v1::Envelope>,
    head: Vec<u8>,
    data: Bytes,
) -> impl Iterator<Item = v1::SnapshotChunk> + Send + 'static {
    let first = v1::SnapshotChunk {
        envelope,
        head: head.into(),
        size: data.len() as u64,
        sha256: sha256(&data).into(),
        data: Bytes::new(),
    };
    let starts = (0..data.len()).step_by(CHUNK);
    let rest = starts.map(move |start| {
        let data = data.slice(start..data.len().min(start + CHUNK));
        v1::SnapshotChunk { data, ..Default::default() }
    });
    std::iter::once(first).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_to_the_whole() {
        for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let data: Bytes = (0..length).map(|i| i as u8).collect::<Vec<_>>().into();
            let all: Vec<_> = chunks(None, b"{}".to_vec(), data.clone()).collect();
            assert_eq!((all[0].size, all[0].data.len()), (length as u64, 0));
            assert_eq!(all[0].sha256, sha256(&data));
            let joined: Vec<u8> = all.iter().flat_map(|chunk| chunk.data.iter().copied()).collect();
            assert_eq!(joined, data);
            assert!(all.iter().all(|chunk| chunk.data.len() <= CHUNK));
        }
    }
}
