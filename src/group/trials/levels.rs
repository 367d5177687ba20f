//! Members of different programs, during an upgrade and after one that was taken back.

use openraft::{CommittedLeaderId, EntryPayload, raft::AppendEntriesRequest};
use tonic::Code;
use warren_core::{
    id::AgentId,
    state::{Command, Level, Proposal, Refusal, RequestId},
};
use warren_wire::v1::{self, peer_client::PeerClient};

use super::{
    harness::{Plain, SOON, Site, agent, put},
    refusals::envelope,
};
use crate::{
    Group, JoinError, PeerDialer,
    raft::{Entry, LogId, Types, Vote},
};

/// What a leader sends that has a command which is not known here.
fn of_a_newer_program(leader: AgentId) -> String {
    let command = Command::Weight { member: leader, weight: 5 };
    let proposal = Proposal { request: RequestId(1), author: "ann".into(), at_ms: 1, command };
    let log_id = LogId::new(CommittedLeaderId::new(9, leader.number()), 99);
    let request = AppendEntriesRequest::<Types> {
        vote: Vote::new_committed(9, leader.number()),
        prev_log_id: None,
        entries: vec![Entry { log_id, payload: EntryPayload::Normal(proposal) }],
        leader_commit: None,
    };
    serde_json::to_string(&request).unwrap().replace("\"weight\":{", "\"colour\":{")
}

async fn set_tier(group: &Group, member: AgentId) -> Result<(), Refusal> {
    let tier = Command::Tier { member, tier: 1 };
    group.propose(RequestId(rand::random()), "ann", tier, SOON).await.unwrap().map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_does_what_its_lowest_member_knows() {
    let mut site = Site::new();
    site.tuning.level = Level::OLDEST;
    site.start(1).await.found().await.unwrap();
    site.tuning.level = Level::NEWEST;
    site.join(2).await;
    let refused = set_tier(site.group(2), agent(1)).await;
    assert!(matches!(refused, Err(Refusal::Level { level: Level::OLDEST, .. })), "{refused:?}");
    assert!(site.put(2, 1, "db").await.unwrap().is_ok(), "what both know goes on");

    let address = site.stop(1).await;
    site.start_at(1, address).await;
    site.until(2, "at the newest level", |view| view.state.level == Level::NEWEST).await;
    assert_eq!(set_tier(site.group(2), agent(1)).await, Ok(()));

    // Nobody comes who would not understand what is written now.
    site.tuning.level = Level::OLDEST;
    let group = site.start(3).await;
    let refused = group.join(&site.peers(), SOON).await;
    let told = matches!(&refused, Err(JoinError::Refused { reason, .. }) if reason.contains("upgrade it"));
    assert!(told, "{refused:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_read_the_log_stops_aloud() {
    let site = Site::of(3).await;
    let (leader, follower) = (site.leader().await, site.follower().await);
    let address = site.running[&follower].address.to_string();
    let channel = Plain(agent(leader).to_string()).channel(agent(follower), &address);
    let envelope = envelope(site.id, agent(leader), agent(follower));
    let message = v1::RaftMessage { envelope, payload: of_a_newer_program(agent(leader)).into() };
    let refused = PeerClient::new(channel).append(message).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let view = site.until(follower, "stopped", |view| !view.trouble.is_empty()).await;
    assert!(
        view.trouble.contains("is of a newer program than this agent's: upgrade this agent"),
        "{}",
        view.trouble
    );
    let asked = site.group(leader).propose(RequestId(5), "ann", put("x", "x:1"), SOON).await;
    assert!(asked.unwrap().is_ok(), "the others go on");
    site.end().await;
}
