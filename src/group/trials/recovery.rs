//! Logs that are lost: one member's, or the majority's for good.

use std::{fs, sync::Arc, time::Duration};

use tokio::time::Instant;
use warren_core::{state::Accepted, view::GroupView};

use super::harness::{Plain, SOON, Site, agent, has, voters};
use crate::{Group, JoinError, OpenError, ProposeError, Survivor, store::FILE};

fn survivor(site: &Site, number: u64) -> Result<Survivor, OpenError> {
    Survivor::open(&site.dir(number), site.id, agent(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_log_is_refused_under_its_old_id() {
    let mut site = Site::of(3).await;
    assert!(site.put(1, 1, "db").await.unwrap().is_ok());
    let wiped = site.follower().await;
    let address = site.stop(wiped).await;
    fs::remove_file(site.dir(wiped).join(FILE)).unwrap();
    let group = site.start_at(wiped, address).await;
    let refused = group.join(&site.peers(), SOON).await;
    let told =
        matches!(&refused, Err(JoinError::Refused { reason, .. }) if reason.contains("has lost its log"));
    assert!(told, "{refused:?}");
    // The leader goes on calling it, and it takes nothing.
    let leader = site.leader().await;
    assert!(site.put(leader, 2, "web").await.unwrap().is_ok());
    assert!(!group.has_log());
    assert!(site.remove(leader, agent(wiped)).await.unwrap().is_ok());
    site.stop(wiped).await;
    site.join(4).await;
    site.until(4, "one of three voters", |view| voters(view) == 3 && has(view, "web")).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_becomes_the_group_and_those_that_return_are_shut_out() {
    let mut site = Site::of(3).await;
    assert!(site.put(1, 1, "db").await.unwrap().is_ok());
    for number in 1..=3 {
        site.until(number, "up to date", |view| has(view, "db") && voters(view) == 3).await;
    }
    assert!(matches!(survivor(&site, 1), Err(OpenError::InUse { .. })), "its agent runs");
    let mut addresses = Vec::new();
    for number in 1..=3 {
        addresses.push(site.stop(number).await);
    }
    assert!(matches!(survivor(&site, 9), Err(OpenError::NoLog { .. })));
    let before = survivor(&site, 1).unwrap();
    let recovery = before.recovery().clone();
    let epoch = recovery.next_epoch;
    assert_eq!((recovery.epoch, epoch / 1_000_000, recovery.revision), (1, 1, 1));
    assert_eq!((recovery.alone, recovery.voter, recovery.majority()), (false, true, 2));
    assert_eq!(recovery.members.iter().filter(|member| member.voter).count(), 3);
    // Looking changes nothing.
    drop(before);
    assert_eq!(survivor(&site, 1).unwrap().recovery(), &recovery);
    survivor(&site, 1).unwrap().recover(7, rand::random).unwrap();
    let again = survivor(&site, 1).unwrap();
    assert!(again.recovery().alone, "{:?}", again.recovery());
    again.recover(8, rand::random).unwrap();

    site.start_at(1, addresses[0]).await;
    let alone =
        |view: &GroupView| view.leads() && view.quorum && view.epoch == epoch && view.roles.len() == 1;
    let view = site.until(1, "alone", alone).await;
    assert_eq!(view.state.members.keys().collect::<Vec<_>>(), [&agent(1)]);
    assert_eq!(view.state.departed, [agent(2), agent(3)]);
    assert_eq!(
        site.put(1, 1, "db").await,
        Ok(Ok(Accepted { revision: 1 })),
        "a request from before is known"
    );
    assert_eq!(site.put(1, 2, "web").await, Ok(Ok(Accepted { revision: 2 })));

    // Two of the old three are a majority of the old group, and decide nothing once they have met the new one.
    let returned = Instant::now();
    for number in [2, 3] {
        let group = site.start_at(number, addresses[usize::try_from(number).unwrap() - 1]).await;
        let cause = tokio::time::timeout(SOON, group.stopped()).await.unwrap().unwrap();
        assert!(cause.contains("the group was recovered without it"), "{cause}");
        let refused = site.put(number, 3, "old").await;
        assert!(matches!(refused, Err(ProposeError::Stopped(_))), "{refused:?}");
        assert!(!site.group(number).watch().borrow().trouble.is_empty());
    }
    println!("both shut out after {:?}", returned.elapsed());
    let address = site.stop(2).await;
    let (options, dialer) = (site.options(2, address), Arc::new(Plain(agent(2).to_string())));
    let refused = Group::open(options, dialer).await.map(drop);
    assert!(
        matches!(refused, Err(OpenError::Superseded { epoch: 1, newer, .. }) if newer == epoch),
        "{refused:?}"
    );
    let out = survivor(&site, 2).unwrap();
    assert_eq!((out.recovery().superseded, out.recovery().next_epoch / 1_000_000), (Some(epoch), 2));
    drop(out);
    site.stop(3).await;

    // New members get the epoch with the log, and keep it.
    site.join(4).await;
    site.until(4, "a voter", |view| voters(view) == 2 && view.epoch == epoch && !has(view, "old")).await;
    let address = site.stop(4).await;
    site.start_at(4, address).await;
    site.until(4, "back", |view| view.quorum && view.epoch == epoch).await;
    assert!(site.put(4, 4, "app").await.unwrap().is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_survivors_are_told_apart() {
    let mut site = Site::of(3).await;
    for number in 1..=3 {
        site.stop(number).await;
    }
    let [one, two] = [1, 2].map(|number| survivor(&site, number).unwrap().recover(7, rand::random).unwrap());
    assert_ne!(one.next_epoch, two.next_epoch);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_is_known_before_a_recovery() {
    let mut site = Site::of(3).await;
    let stopped = site.follower().await;
    site.stop(stopped).await;
    let survivor = survivor(&site, stopped).unwrap();
    let dialer = Plain(agent(stopped).to_string());
    site.mend(stopped);
    let answering = survivor.answering(&dialer, Duration::from_secs(5)).await;
    assert_eq!(answering.len() + 1, 3, "{answering:?}");
    drop(survivor);
    site.end().await;
}
