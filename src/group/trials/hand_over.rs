//! A leader that stops in good order is not missed.

use tokio::time::Instant;
use warren_core::state::Accepted;

use super::harness::{SOON, Site, agent, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_resigns_is_followed_at_once() {
    for size in [3, 2] {
        let mut site = Site::of(size).await;
        assert!(site.put(1, 1, "db").await.unwrap().is_ok());
        let old = site.leader().await;
        let term = site.group(old).watch().borrow().term;
        let stood = site.group(old).stood();
        let begun = Instant::now();
        let resigning = site.group(old).clone();
        // Edits that come meanwhile are not refused.
        let (asked, ()) = tokio::join!(site.put(old, 2, "web"), resigning.resign());
        assert!(asked.unwrap().is_ok());
        let follower = *site.running.keys().find(|number| **number != old).unwrap();
        assert!(site.put(follower, 3, "app").await.unwrap().is_ok());
        println!("{size} members: writable again after {:?}", begun.elapsed());
        let view = site.until(old, "following", |view| view.quorum && !view.leads()).await;
        assert!(view.term > term);
        assert_ne!(view.leader, Some(agent(old)));
        assert_eq!(site.group(old).stood(), stood, "it took the title back");
        site.stop(old).await;
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_alone_or_without_an_heir_resigns_and_the_group_goes_on() {
    let mut site = Site::new();
    site.start(1).await.found().await.unwrap();
    site.group(1).resign().await;
    assert_eq!(site.put(1, 1, "db").await, Ok(Ok(Accepted { revision: 1 })), "until it stops it decides");
    let address = site.stop(1).await;
    site.start_at(1, address).await;
    assert_eq!(site.put(1, 2, "web").await, Ok(Ok(Accepted { revision: 2 })));
    site.end().await;

    let site = Site::of(3).await;
    let leader = site.leader().await;
    for number in 1..=3 {
        if number != leader {
            site.cut(number);
        }
    }
    site.group(leader).resign().await;
    for number in 1..=3 {
        site.mend(number);
    }
    let other = *site.running.keys().find(|number| **number != leader).unwrap();
    let asked =
        site.group(other).propose(warren_core::state::RequestId(5), "ann", put("x", "x:1"), SOON).await;
    assert!(asked.is_ok(), "{asked:?}");
    site.end().await;
}

/// Drains take minutes; a leader may die meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_about_to_stop_lead_if_nobody_else_is_left() {
    let mut site = Site::of(3).await;
    let leader = site.leader().await;
    for number in (1..=3).filter(|number| *number != leader) {
        site.group(number).resign().await;
    }
    site.stop(leader).await;
    let other = *site.running.keys().next().unwrap();
    assert!(site.put(other, 1, "db").await.unwrap().is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_goes_to_the_one_that_stays() {
    let site = Site::of(3).await;
    let mut left = Vec::new();
    for request in 0..2 {
        let leader = site.leader().await;
        site.group(leader).resign().await;
        left.push(leader);
        // Also should it be elected: whoever asks is answered by one that stays.
        assert!(site.put(leader, request, &format!("r{request}")).await.unwrap().is_ok());
        let view = site.until(leader, "led again", |view| view.quorum && view.leader.is_some()).await;
        assert!(!left[..left.len() - 1].iter().any(|gone| view.leader == Some(agent(*gone))), "{left:?}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_leader_hands_over() {
    let site = Site::of(3).await;
    let leader = site.leader().await;
    let view = site.group(leader).watch().borrow().clone();
    let follower = site.follower().await;
    site.group(follower).resign().await;
    assert!(site.put(follower, 1, "db").await.unwrap().is_ok());
    let after = site.group(leader).watch().borrow().clone();
    assert_eq!((after.term, after.leader), (view.term, view.leader), "nothing has changed hands");
    site.end().await;
}
