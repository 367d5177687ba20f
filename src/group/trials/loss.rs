//! Members that are gone or cut off.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use warren_core::state::{Accepted, Verdict};

use super::harness::{SOON, Site, agent, has};
use crate::ProposeError;

const PROMPT: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_edits_are_refused_by_name_and_the_config_stays() {
    let mut site = Site::of(3).await;
    assert!(site.put(1, 1, "db").await.unwrap().is_ok());
    let leader = site.leader().await;
    for number in 1..=3 {
        site.until(number, "up to date", |view| has(view, "db")).await;
    }
    let others: Vec<_> = site.running.keys().copied().filter(|number| *number != leader).collect();
    let mut addresses = Vec::new();
    for number in &others {
        addresses.push((*number, site.stop(*number).await));
    }
    for request in [10, 11] {
        let asked = Instant::now();
        let refused = site.put(leader, request, "web").await.unwrap_err();
        assert!(matches!(refused, ProposeError::NoQuorum { voters: 3, in_touch: 1, .. }), "{refused}");
        assert!(
            refused.to_string().starts_with("no quorum: 1 of 3 voters in touch; edits need 2"),
            "{refused}"
        );
        assert!(asked.elapsed() < PROMPT, "refused after {:?}", asked.elapsed());
    }
    let view = site.until(leader, "aware", |view| !view.quorum).await;
    assert!(has(&view, "db"));
    let read = site.group(leader).read_linearizable(SOON).await.unwrap_err();
    assert_eq!(read.reason(), "no_quorum");

    // The same on a member that does not lead: the last of the three, started alone.
    let address = site.stop(leader).await;
    let (number, other) = addresses.remove(0);
    let group = site.start_at(number, other).await;
    assert!(has(&group.watch().borrow(), "db"), "what it knew to be committed is there without a leader");
    let asked = Instant::now();
    let refused = site.put(number, 12, "web").await.unwrap_err();
    assert!(refused.reason() == "no_quorum" || refused.reason() == "no_leader", "{refused}");
    assert!(asked.elapsed() < PROMPT, "refused after {:?}", asked.elapsed());

    // One more returns: the group edits again.
    site.start_at(leader, address).await;
    site.leader().await;
    assert!(site.put(number, 13, "app").await.unwrap().is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_cut_off_does_not_depose_the_leader() {
    let site = Site::of(3).await;
    let leader = site.leader().await;
    let lonely = site.follower().await;
    let term = site.group(leader).watch().borrow().term;
    let stood = site.group(lonely).stood();
    site.cut(lonely);
    site.until(lonely, "alone", |view| !view.quorum).await;
    // Many elections long.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(site.group(lonely).stood(), stood, "it stood although nobody told it that it may");
    assert!(site.put(leader, 1, "db").await.unwrap().is_ok());
    site.mend(lonely);
    let view = site.until(lonely, "up to date", |view| has(view, "db") && view.quorum).await;
    // On a machine too busy for heartbeats the others may have held an election of their own.
    let undisturbed = (view.term, view.leader) == (term, Some(agent(leader)));
    assert!(undisturbed || site.group(lonely).stood() == stood, "it deposed the leader: {view:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_refuses_and_follows_when_it_returns() {
    let site = Site::of(3).await;
    // A write that the old leader took in good faith: unknown, and never lost once acknowledged. A leader that was held
    // up for as long as its lease between the cut and the write takes nothing in good faith any more; then once more.
    let (old, other) = timeout(SOON, async {
        loop {
            let old = site.leader().await;
            let other = *site.running.keys().find(|number| **number != old).unwrap();
            site.cut(old);
            let refused = site.put(old, 5, "lost").await.unwrap_err();
            match refused {
                ProposeError::NoQuorum { sent: true, .. } => return (old, other),
                ProposeError::NoQuorum { sent: false, .. } => site.mend(old),
                other => panic!("{other:?}"),
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(site.put(other, 1, "db").await, Ok(Ok(Accepted { revision: 1 })));
    let refused = site.put(old, 6, "web").await.unwrap_err();
    assert!(matches!(refused, ProposeError::NoQuorum { sent: false, .. }), "{refused:?}");
    site.mend(old);
    site.until(old, "following", |view| has(view, "db") && view.quorum && !view.leads()).await;
    // Asked again under its id, the unsure one is applied once.
    assert_eq!(site.put(old, 5, "lost").await, Ok(Ok(Accepted { revision: 2 })));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_member_that_is_down_works_and_never_below_quorum() {
    let mut site = Site::of(3).await;
    let leader = site.leader().await;
    let dead = site.follower().await;
    site.stop(dead).await;
    site.until(leader, "judging", |view| view.state.members[&agent(dead)].verdict.verdict == Verdict::Down)
        .await;
    let other = *site.running.keys().find(|number| **number != leader).unwrap();
    let refused = site.remove(leader, agent(other)).await;
    assert_eq!(refused, Err(ProposeError::WouldLoseQuorum { voters: 2, in_touch: 1 }));
    // Through a follower.
    assert!(site.remove(other, agent(dead)).await.unwrap().is_ok());
    site.until(other, "two of two", |view| view.roles.len() == 2 && view.state.members.len() == 2).await;
    assert!(site.put(other, 3, "db").await.unwrap().is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_fails_stops_aloud_and_the_others_go_on() {
    let site = Site::of(3).await;
    let broken = site.leader().await;
    let group = site.group(broken).clone();
    group.lose_disk().await;
    let failed = site.put(broken, 1, "db").await.unwrap_err();
    assert_eq!(failed.reason(), "stopped", "{failed}");
    let cause = group.stopped().await.unwrap();
    assert!(cause.contains("closed"), "{cause}");
    let last = group.watch().borrow().clone();
    assert_eq!((last.leader, last.quorum), (None, false), "it does not go on saying that it leads");
    let other = *site.running.keys().find(|number| **number != broken).unwrap();
    assert!(site.put(other, 1, "db").await.unwrap().is_ok());
    // It still listens, but must not look alive.
    site.until(other, "judging", |view| view.state.members[&agent(broken)].verdict.verdict == Verdict::Down)
        .await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_word_gets_through_to_nobody_is_followed_by_another() {
    let site = Site::of(3).await;
    let deaf = site.leader().await;
    let others: Vec<_> = site.running.keys().copied().filter(|number| *number != deaf).collect();
    let term = site.group(deaf).watch().borrow().term;
    for other in &others {
        site.cut_way(deaf, *other);
    }
    // It hears them, and so of its successor.
    let view = site.until(deaf, "following", |view| view.leader.is_some() && !view.leads()).await;
    assert!(view.term > term);
    assert!(site.put(others[0], 1, "db").await.unwrap().is_ok());
    site.until(deaf, "up to date", |view| has(view, "db")).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_restarts_at_its_address_is_noticed_at_once() {
    let mut site = Site::of(3).await;
    let leader = site.leader().await;
    let restarted = site.follower().await;
    for round in 1..=3 {
        let address = site.stop(restarted).await;
        let name = format!("r{round}");
        assert!(site.put(leader, round, &name).await.unwrap().is_ok());
        site.start_at(restarted, address).await;
        let back = Instant::now();
        site.until(restarted, "up to date", |view| has(view, &name) && view.quorum).await;
        println!("caught up after {:?}", back.elapsed());
        assert!(back.elapsed() < Duration::from_secs(2), "caught up after {:?}", back.elapsed());
    }
    site.end().await;
}
