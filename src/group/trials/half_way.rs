//! Changes of the voters whose maker died after the first of their two steps.

use std::pin::pin;

use futures_util::poll;
use openraft::ChangeMembers;
use warren_core::view::Role;

use super::harness::{Site, agent, voters};

/// The first step of what a leader does to take a voter's vote; the second never comes.
async fn begin_demotion(site: &Site, leader: u64, voter: u64) {
    let change = ChangeMembers::RemoveVoters([agent(voter).number()].into());
    let mut changing = pin!(site.group(leader).raft().change_membership(change, true));
    assert!(poll!(&mut changing).is_pending());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_to_lose_its_vote_stays_a_member() {
    let site = Site::of(3).await;
    let (leader, voter) = (site.leader().await, site.follower().await);
    begin_demotion(&site, leader, voter).await;
    let view = site.until(leader, "done with it", |view| voters(view) == 2).await;
    assert_eq!(view.roles.get(&agent(voter)), Some(&Role::Learner));
    // It keeps up, and gets its vote back.
    site.until(voter, "a voter again", |view| voters(view) == 3).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_to_lose_its_vote_stays_when_another_is_removed() {
    let site = Site::of(4).await;
    let leader = site.leader().await;
    let mut others = site.running.keys().filter(|number| **number != leader);
    let (voter, leaver) = (*others.next().unwrap(), *others.next().unwrap());
    begin_demotion(&site, leader, voter).await;
    assert!(site.remove(leader, agent(leaver)).await.unwrap().is_ok());
    let gone = |roles: &std::collections::BTreeMap<_, _>| !roles.contains_key(&agent(leaver));
    let view = site.until(leader, "without the leaver", |view| gone(&view.roles)).await;
    assert!(view.roles.contains_key(&agent(voter)), "{:?}", view.roles);
    site.end().await;
}
