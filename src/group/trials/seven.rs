//! More members than votes.

use std::time::Duration;

use warren_core::view::{GroupView, Role};

use super::harness::{Site, agent, has, voters};
use crate::options::Tuning;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_seven_members_five_vote_and_one_that_waits_takes_a_dead_ones_place() {
    let mut site = Site::new();
    site.tuning = Tuning { replace_after: Duration::from_millis(500), ..Tuning::default() };
    site.start(1).await.found().await.unwrap();
    for number in 2..=7 {
        site.join(number).await;
    }
    let settled = |view: &GroupView| view.roles.len() == 7 && voters(view) == 5;
    let view = site.until(1, "five of seven with a vote", settled).await;
    assert!(site.put(7, 1, "db").await.unwrap().is_ok(), "one without a vote takes edits, too");
    for number in 1..=7 {
        site.until(number, "up to date", |view| has(view, "db")).await;
    }
    let leader = site.leader().await;
    let votes = |view: &GroupView, number: u64| view.roles[&agent(number)] == Role::Voter;
    let dead = (1..=7).find(|number| *number != leader && votes(&view, *number)).unwrap();
    let address = site.stop(dead).await;
    site.until(leader, "with another in its place", |view| voters(view) == 5 && !votes(view, dead)).await;
    assert!(site.put(leader, 2, "web").await.unwrap().is_ok());
    // It is a member still, and follows when it is back.
    site.start_at(dead, address).await;
    let back = |view: &GroupView| has(view, "web") && settled(view) && !votes(view, dead);
    site.until(dead, "back without a vote", back).await;
    site.end().await;
}
