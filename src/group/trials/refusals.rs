//! Calls that no member may answer.

use openraft::{Vote, raft::VoteRequest};
use tonic::{Code, transport::Channel};
use warren_core::id::{AgentId, GroupId};
use warren_wire::v1::{self, peer_client::PeerClient};

use super::harness::{Plain, SOON, Site, agent};
use crate::{JoinError, PeerDialer};

pub(super) fn envelope(group: GroupId, from: AgentId, to: AgentId) -> Option<v1::Envelope> {
    let (group, from, to) = (group.to_string(), from.to_string(), to.to_string());
    Some(v1::Envelope { group, from, to, ..Default::default() })
}

fn client_of(site: &Site, caller: AgentId) -> PeerClient<Channel> {
    let address = site.running[&1].address.to_string();
    PeerClient::new(Plain(caller.to_string()).channel(agent(1), &address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_others_or_for_others_are_refused() {
    let site = Site::of(1).await;
    let stranger = agent(9);
    let mut client = client_of(&site, stranger);
    let mut code = async |group, from, to| {
        let ping = client.ping(v1::PingRequest { envelope: envelope(group, from, to) }).await;
        ping.map_err(|status| status.code()).map(drop)
    };
    assert_eq!(code(site.id, stranger, agent(1)).await, Ok(()));
    assert_eq!(code(GroupId::from_random(5), stranger, agent(1)).await, Err(Code::FailedPrecondition));
    assert_eq!(code(site.id, stranger, agent(2)).await, Err(Code::FailedPrecondition));
    assert_eq!(code(site.id, agent(2), agent(1)).await, Err(Code::PermissionDenied));
    // No stranger's word of a later epoch ends a group.
    let later = envelope(site.id, stranger, agent(1)).map(|envelope| v1::Envelope { epoch: 9, ..envelope });
    let refused = client.ping(v1::PingRequest { envelope: later }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(site.put(1, 1, "db").await.unwrap().is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raft_calls_of_those_that_are_no_members_change_nothing() {
    let site = Site::of(1).await;
    let stranger = agent(9);
    let term = site.group(1).watch().borrow().term;
    let mut client = client_of(&site, stranger);
    let request: VoteRequest<u64> =
        VoteRequest { vote: Vote::new(term + 50, stranger.number()), last_log_id: None };
    let payload: bytes::Bytes = serde_json::to_vec(&request).unwrap().into();
    let message = v1::RaftMessage { envelope: envelope(site.id, stranger, agent(1)), payload };
    let refused = client.vote(message.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(client.append(message).await.unwrap_err().code(), Code::PermissionDenied);
    let proposal = v1::PeerProposal {
        envelope: envelope(site.id, stranger, agent(1)),
        proposal: bytes::Bytes::from_static(b"\"barrier\""),
        timeout_ms: 1_000,
    };
    assert_eq!(client.propose(proposal).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(site.group(1).watch().borrow().term, term);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_barred_before_it_came_stays_out() {
    let mut site = Site::of(2).await;
    assert!(site.remove(1, agent(9)).await.unwrap().is_ok());
    site.until(2, "told", |view| view.state.departed.contains(&agent(9))).await;
    let late = site.start(9).await;
    for through in [1, 2] {
        let peer = vec![(agent(through), site.running[&through].address.to_string())];
        let refused = late.join(&peer, SOON).await;
        let told = matches!(&refused, Err(JoinError::Refused { reason, .. }) if reason.contains("left the group for good"));
        assert!(told, "{refused:?}");
    }
    assert_eq!(site.group(1).watch().borrow().roles.len(), 2);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused_by_name() {
    let site = Site::of(1).await;
    let stranger = agent(9);
    let mut client = client_of(&site, stranger);
    let join = |peer_address: &str| v1::JoinRequest {
        envelope: envelope(site.id, stranger, agent(1)),
        name: "x".into(),
        peer_address: peer_address.into(),
        version: String::new(),
        level: 0,
    };
    for address in ["", "host", ":1", "host:0", "host:x"] {
        let refused = client.join(join(address)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{address}: {refused}");
    }
    let chunk = |data: &'static [u8], size| v1::SnapshotChunk {
        envelope: envelope(site.id, stranger, agent(1)),
        head: bytes::Bytes::from_static(b"{}"),
        size,
        sha256: bytes::Bytes::new(),
        data: bytes::Bytes::from_static(data),
    };
    let refused = client.snapshot(tokio_stream::iter([chunk(b"x", 1)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(site.group(1).watch().borrow().roles.len(), 1);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_cannot_be_founded_over_another() {
    let mut site = Site::of(2).await;
    site.group(2).found().await.unwrap();
    // A member of its group is let in again, not made a second first member.
    assert_eq!(site.group(1).watch().borrow().roles.len(), 2);
    let newcomer = site.start(3).await;
    let nowhere = vec![(agent(1), "127.0.0.1:1".to_owned())];
    let failed = newcomer.join(&nowhere, std::time::Duration::from_secs(1)).await;
    assert!(matches!(failed, Err(JoinError::Timeout { .. })), "{failed:?}");
    newcomer.join(&site.peers(), SOON).await.unwrap();
    site.end().await;
}
