use std::time::Duration;

use tokio::time::timeout;
use warren_core::{
    balance::Opened,
    state::{Intent, Verdict},
    status::GroupHealth,
};
use warren_tunnel::Liveness;

use super::*;
use crate::testing::*;

const SOON: Duration = Duration::from_secs(5);

fn plan(registry: &Registry) -> Planned {
    let asked = Asked { resource: &name("db"), tried: &[], caller: 0 };
    registry.entry(group()).plan(asked, rand::random(), Instant::now())
}

#[tokio::test]
async fn a_newer_connection_of_the_same_slot_fences_the_older() {
    let registry = Registry::default();
    let old = connect_as(&registry, 1, Hello::new(7, 1, 0), echoing).await.unwrap();
    let other = connect_as(&registry, 1, Hello::new(7, 2, 1), echoing).await.unwrap();
    let new = connect_as(&registry, 1, Hello::new(7, 3, 0), echoing).await.unwrap();
    assert_eq!(timeout(SOON, old.far.closed()).await.unwrap().reason, CloseReason::Fenced);
    let late = connect_as(&registry, 1, Hello::new(7, 2, 0), echoing).await;
    assert_eq!(late.err(), Some(NotAdmitted::Stale));
    assert_eq!(registry.group(group()).unwrap().members[&agent(1)].serving_tunnels(), 2);
    assert_eq!((new.far.stats().liveness, other.far.stats().liveness), (Liveness::Alive, Liveness::Alive));
}

#[tokio::test]
async fn a_restarted_agent_fences_all_that_it_left() {
    let registry = Registry::default();
    let old = [
        connect_as(&registry, 1, Hello::new(7, 1, 0), echoing).await.unwrap(),
        connect_as(&registry, 1, Hello::new(7, 2, 1), echoing).await.unwrap(),
    ];
    let _new = connect_as(&registry, 1, Hello::new(8, 1, 0), echoing).await.unwrap();
    for old in old {
        assert_eq!(timeout(SOON, old.far.closed()).await.unwrap().reason, CloseReason::Fenced);
        registry.remove(&old.tunnel);
    }
    assert_eq!(registry.group(group()).unwrap().members[&agent(1)].tunnels.len(), 1);
}

#[tokio::test]
async fn of_two_processes_with_one_identity_the_later_start_keeps_its_place() {
    let registry = Registry::default();
    let first = connect_as(&registry, 1, Hello::new(7, 1, 0), echoing).await.unwrap();
    let second = connect_as(&registry, 1, Hello::new(8, 1, 0), echoing).await.unwrap();
    assert_eq!(timeout(SOON, first.far.closed()).await.unwrap().reason, CloseReason::Fenced);
    registry.remove(&first.tunnel);
    // The earlier one does not give up; without an order the two would take turns.
    let again = connect_as(&registry, 1, Hello::new(7, 2, 0), echoing).await;
    assert_eq!(again.err(), Some(NotAdmitted::Stale));
    assert_eq!(second.far.stats().liveness, Liveness::Alive);
    registry.remove(&second.tunnel);
    connect_as(&registry, 1, Hello::new(7, 3, 0), echoing).await.unwrap();
}

#[tokio::test]
async fn a_revoked_agent_is_cut_and_does_not_come_back() {
    let registry = Registry::default();
    let cut = connect(&registry, 1, echoing).await;
    let _stays = connect(&registry, 2, echoing).await;
    assert_eq!(registry.cut_agent(agent(1), CloseReason::Revoked), 1);
    assert_eq!(timeout(SOON, cut.far.closed()).await.unwrap().reason, CloseReason::Revoked);
    let back = connect_as(&registry, 1, Hello::new(8, 1, 0), echoing).await;
    assert_eq!(back.err(), Some(NotAdmitted::Revoked));
    assert_eq!(registry.group(group()).unwrap().members.len(), 1);
}

/// At most half of a group is ejected, and whoever was revoked is not of it.
#[tokio::test]
async fn a_revoked_agent_does_not_count_as_one_that_could_serve() {
    let registry = Registry::default();
    let mut members = Vec::new();
    for number in 1..=4 {
        members.push(connect(&registry, number, echoing).await);
    }
    registry.cut_agent(agent(4), CloseReason::Revoked);
    let (group, now) = (registry.entry(group()), Instant::now());
    for number in [1, 2] {
        for _ in 0..20 {
            group.opened(agent(number), Opened::Failed, now);
        }
    }
    assert_eq!(group.ejected(now), [agent(1)]);
}

#[tokio::test]
async fn the_view_is_that_of_whoever_knows_most() {
    let registry = Registry::default();
    let (one, two) = (connect(&registry, 1, echoing).await, connect(&registry, 2, echoing).await);
    assert!(matches!(plan(&registry), Planned::UnknownGroup));
    registry.observe(&one.tunnel, Snapshot { applied: 9, ..snapshot(1, &[1, 2], &["db"]) });
    registry.observe(&two.tunnel, snapshot(2, &[1, 2], &[]));
    assert!(matches!(plan(&registry), Planned::Chosen(_)), "the one that lags is not believed");
    let cut_off = Snapshot { applied: 99, quorum: false, term: 40, ..snapshot(2, &[2], &[]) };
    registry.observe(&two.tunnel, cut_off);
    assert!(matches!(plan(&registry), Planned::Chosen(_)), "nor the one without a majority");
    registry.observe(&two.tunnel, Snapshot { applied: 10, ..snapshot(2, &[1, 2], &[]) });
    assert!(matches!(plan(&registry), Planned::UnknownResource));
}

#[tokio::test]
async fn after_a_recovery_the_former_members_are_neither_heard_nor_used() {
    let registry = Registry::default();
    let (one, two) = (connect(&registry, 1, echoing).await, connect(&registry, 2, echoing).await);
    registry.observe(&two.tunnel, Snapshot { applied: 90, ..snapshot(2, &[1, 2], &["old"]) });
    registry.observe(&one.tunnel, Snapshot { epoch: 2, applied: 9, ..snapshot(1, &[1], &["db"]) });
    let Planned::Chosen(chosen) = plan(&registry) else { panic!("the survivor serves") };
    assert_eq!(chosen.lease.tunnel.agent, agent(1));
    assert_eq!(chosen.plan.choices, [agent(1)]);
    // Nor when the survivor is away for a moment.
    registry.remove(&one.tunnel);
    registry.observe(&two.tunnel, Snapshot { applied: 91, ..snapshot(2, &[1, 2], &["db", "old"]) });
    assert!(!matches!(plan(&registry), Planned::Chosen(_)));
}

#[tokio::test]
async fn what_people_took_out_does_not_come_back_with_who_has_not_heard() {
    let registry = Registry::default();
    let (one, two) = (connect(&registry, 1, echoing).await, connect(&registry, 2, echoing).await);
    let mut view = Snapshot { applied: 9, ..snapshot(1, &[1, 2], &["db"]) };
    view.members.get_mut(&agent(2)).unwrap().intent = Intent::Draining;
    registry.observe(&two.tunnel, Snapshot { quorum: false, ..snapshot(2, &[1, 2], &["db"]) });
    registry.observe(&one.tunnel, view);
    registry.remove(&one.tunnel);
    registry.observe(&two.tunnel, Snapshot { quorum: false, ..snapshot(2, &[1, 2], &["db"]) });
    assert!(matches!(plan(&registry), Planned::Nobody(_)), "member 2 drains");
    let observed = registry.group(group()).unwrap();
    assert!(!observed.view.as_ref().unwrap().quorum, "and how the group does is fresh all the same");
}

#[tokio::test]
async fn a_session_goes_to_a_member_that_fits_and_is_counted_at_once() {
    let registry = Registry::default();
    let (one, two) = (connect(&registry, 1, echoing).await, connect(&registry, 2, echoing).await);
    let mut view = snapshot(1, &[1, 2], &["db"]);
    let down = warren_core::state::Judged { verdict: Verdict::Down, ..Default::default() };
    view.verdicts.insert((agent(1), name("db")), down);
    registry.observe(&one.tunnel, view.clone());
    registry.observe(&two.tunnel, Snapshot { member: agent(2), ..view });
    let Planned::Chosen(chosen) = plan(&registry) else { panic!("somebody fits") };
    assert_eq!((chosen.lease.tunnel.agent, chosen.name.as_str()), (agent(2), "a2"));
    let sessions = |number| registry.group(group()).unwrap().members[&agent(number)].sessions;
    assert_eq!(sessions(2), 1);
    drop(chosen);
    assert_eq!(sessions(2), 0);
}

#[tokio::test]
async fn a_member_that_drains_is_passed_over() {
    let registry = Registry::default();
    let (one, two) = (connect(&registry, 1, echoing).await, connect(&registry, 2, echoing).await);
    registry.observe(&one.tunnel, snapshot(1, &[1, 2], &["db"]));
    registry.observe(&two.tunnel, snapshot(2, &[1, 2], &["db"]));
    let far = one.far.clone();
    tokio::spawn(async move { far.drain(SOON, "stops").await });
    until("the drain is seen", || registry.group(group()).unwrap().members[&agent(1)].serving_tunnels() == 0)
        .await;
    for _ in 0..20 {
        let Planned::Chosen(chosen) = plan(&registry) else { panic!("the other one is there") };
        assert_eq!(chosen.lease.tunnel.agent, agent(2));
    }
    let judgement = judge(registry.group(group()).as_deref(), &[]);
    assert_eq!(judgement.members[&agent(1)].status.as_str(), "Draining");
    assert_eq!(judgement.group.status, GroupHealth::AtRisk);
}

#[tokio::test]
async fn without_a_member_nobody_can_be_asked() {
    let registry = Registry::default();
    let asked = registry.propose(group(), Default::default(), Duration::from_secs(1)).await;
    assert_eq!(asked.err(), Some(ProposeError::NoMember));
}
