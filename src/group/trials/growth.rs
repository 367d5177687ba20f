//! From one member to three, with restarts.

use std::time::Duration;

use tokio::time::Instant;
use warren_core::{
    state::{Accepted, RequestId},
    view::{GroupView, Role},
};

use super::harness::{SOON, Site, agent, has, put, voters};
use crate::{JoinError, ProposeError, options::Tuning};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_works_and_keeps_its_state() {
    let mut site = Site::new();
    let group = site.start(1).await;
    assert!(!group.has_log());
    let asked = group.propose(RequestId(1), "ann", put("db", "db:1"), SOON).await;
    assert_eq!(asked, Err(ProposeError::NotReady));
    assert_eq!(group.join(&[], SOON).await, Err(JoinError::NoPeers));
    group.found().await.unwrap();
    group.found().await.unwrap();
    assert!(group.has_log());
    assert!(group.watch().borrow().state.members.contains_key(&agent(1)));
    assert_eq!(site.put(1, 2, "db").await, Ok(Ok(Accepted { revision: 1 })));
    let view = site.until(1, "leading", |view| view.leads() && view.quorum).await;
    assert_eq!(view.state.members[&agent(1)].name, "member-1");

    let address = site.stop(1).await;
    assert!(matches!(
        group.propose(RequestId(3), "ann", put("x", "x:1"), SOON).await,
        Err(ProposeError::Stopped(_))
    ));
    assert_eq!(group.stopped().await, None);

    let started = Instant::now();
    let group = site.start_at(1, address).await;
    assert!(group.has_log());
    assert!(
        has(&group.watch().borrow(), "db"),
        "the last committed config is there before there is a leader"
    );
    site.until(1, "leading", |view| view.leads() && view.quorum).await;
    assert!(started.elapsed() < Duration::from_secs(2), "elected itself after {:?}", started.elapsed());
    // The same request again, across the restart.
    assert_eq!(site.put(1, 2, "db").await, Ok(Ok(Accepted { revision: 1 })));
    assert_eq!(site.put(1, 4, "web").await, Ok(Ok(Accepted { revision: 2 })));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_outlive_their_leader() {
    let mut site = Site::of(3).await;
    let follower = site.follower().await;
    assert_eq!(site.put(follower, 1, "db").await, Ok(Ok(Accepted { revision: 1 })));
    for number in 1..=3 {
        let view = site.until(number, "up to date", |view| has(view, "db")).await;
        assert_eq!(view.state.members.len(), 3);
    }
    let read = site.group(follower).read_linearizable(SOON).await.unwrap();
    assert_eq!(read.revision, 1);

    let dead = site.leader().await;
    let before = Instant::now();
    let address = site.stop(dead).await;
    let survivor = *site.running.keys().next().unwrap();
    assert_eq!(site.put(survivor, 2, "web").await, Ok(Ok(Accepted { revision: 2 })));
    println!("writable again after {:?}", before.elapsed());
    // The same request, asked of another leader.
    assert_eq!(site.put(survivor, 1, "db").await, Ok(Ok(Accepted { revision: 1 })));
    let other = *site.running.keys().last().unwrap();
    site.until(other, "judging the dead", |view| {
        view.state.members[&agent(dead)].verdict.verdict == warren_core::state::Verdict::Down
    })
    .await;

    site.start_at(dead, address).await;
    site.until(dead, "caught up", |view| has(view, "web")).await;
    site.until(dead, "judged up again", |view| {
        view.state.members[&agent(dead)].verdict.verdict == warren_core::state::Verdict::Up
    })
    .await;
    assert_eq!(site.put(dead, 3, "app").await, Ok(Ok(Accepted { revision: 3 })));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_a_snapshot_when_the_log_is_cut() {
    let mut site = Site::new();
    site.tuning = Tuning { snapshot_every: 20, log_keep: 2, ..Tuning::default() };
    site.start(1).await.found().await.unwrap();
    for index in 0..70 {
        let name = format!("r{index}");
        assert_eq!(
            site.put(1, index + 1, &name).await,
            Ok(Ok(Accepted { revision: u64::try_from(index).unwrap() + 1 }))
        );
    }
    let group = site.join(2).await;
    let view = site.until(2, "up to date", |view| view.state.revision == 70).await;
    assert_eq!(view.state.config, site.group(1).watch().borrow().state.config);
    assert_eq!(view.state.history.len(), 70);
    drop(group);
    // Both start from their snapshots.
    site.until(1, "both vote", |view| voters(view) == 2).await;
    let addresses = [site.stop(2).await, site.stop(1).await];
    site.start_at(2, addresses[0]).await;
    site.start_at(1, addresses[1]).await;
    assert_eq!(site.put(2, 100, "after").await, Ok(Ok(Accepted { revision: 71 })));
    site.until(1, "up to date", |view| has(view, "after") && has(view, "r0")).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moves_tells_so() {
    let mut site = Site::of(3).await;
    let follower = site.follower().await;
    let old = site.stop(follower).await;
    let group = site.start(follower).await;
    let new = site.running[&follower].address;
    assert_ne!(old, new);
    group.join(&site.peers(), SOON).await.unwrap();
    let leader = site.leader().await;
    site.until(leader, "told of the move", |view| {
        view.state.members[&agent(follower)].peer_address == new.to_string()
    })
    .await;
    assert!(site.put(leader, 5, "db").await.unwrap().is_ok());
    site.until(follower, "up to date", |view| has(view, "db")).await;
    assert_eq!(voters(&group.watch().borrow()), 3);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_group_moves_and_finds_itself() {
    let mut site = Site::of(3).await;
    assert!(site.put(1, 1, "db").await.unwrap().is_ok());
    for number in 1..=3 {
        site.stop(number).await;
    }
    for number in 1..=3 {
        site.start(number).await;
    }
    let peers = site.peers();
    let (one, two, three) = (site.group(1), site.group(2), site.group(3));
    let joined = tokio::join!(one.join(&peers, SOON), two.join(&peers, SOON), three.join(&peers, SOON));
    assert_eq!(joined, (Ok(()), Ok(()), Ok(())));
    assert_eq!(site.put(2, 2, "web").await, Ok(Ok(Accepted { revision: 2 })));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_leave_for_good() {
    let mut site = Site::of(3).await;
    let leader = site.leader().await;
    let follower = site.follower().await;
    let answer = site.remove(leader, agent(follower)).await;
    assert!(answer.unwrap().is_ok());
    let without = |view: &GroupView| view.roles.len() == 2 && view.state.members.keys().eq(view.roles.keys());
    let view = site.until(leader, "without the leaver", without).await;
    assert!(!view.roles.contains_key(&agent(follower)));
    site.stop(follower).await;
    assert!(site.remove(leader, agent(follower)).await.unwrap().is_ok(), "leaving twice is leaving");
    assert_eq!(site.group(leader).watch().borrow().state.departed, [agent(follower)]);

    // The leader leaves: the one that stays leads, and ends what it had begun.
    assert!(site.group(leader).leave(SOON).await.unwrap().is_ok());
    let last = *site.running.keys().find(|number| **number != leader).unwrap();
    let alone = [(agent(last), Role::Voter)].into();
    let view = site.until(last, "alone", |view| view.leads() && view.quorum && view.roles == alone).await;
    assert_eq!(view.state.members.keys().collect::<Vec<_>>(), [&agent(last)]);
    assert_eq!(view.state.departed, [agent(follower), agent(leader)]);
    let refused = site.group(last).leave(SOON).await;
    assert!(matches!(refused, Err(ProposeError::WouldLoseQuorum { .. })), "{refused:?}");
    assert!(site.put(last, 9, "db").await.unwrap().is_ok());
    site.end().await;
}
