//! What people want of a member: drain, disable, enable, weight; and a clean stop.

use std::time::Duration;

use warren_cluster_tests::{Site, caller, eventually, target};

#[test]
fn a_disabled_member_gets_nothing_new_and_the_last_one_is_guarded() {
    let site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    let (first, second) = (site.agents[0].id.clone(), site.agents[1].id.clone());
    let mut held: Vec<_> = (0..8).map(|_| caller::open_echo(echo).unwrap().0).collect();

    site.run(&["agents", "drain", &first]).ok();
    eventually("it drains", Duration::from_secs(5), || {
        (site.member_status(&first) == "Draining").then_some(())
    });
    held.iter_mut().for_each(|session| caller::round_trip(session, b"still here").unwrap());
    let fresh: Vec<_> = (0..10).map(|_| caller::open_echo(echo).unwrap()).collect();
    let newest = &site.sessions("echo")[..fresh.len()];
    assert!(
        newest.iter().all(|session| session["member"] == second.as_str()),
        "all on the other: {newest:?}"
    );

    let guarded = site.run(&["agents", "disable", &second]);
    assert_eq!(guarded.code, 3, "{guarded:?}");
    assert!(guarded.stderr.contains("last_healthy_member"), "{guarded:?}");
    site.run(&["agents", "enable", &first]).ok();
    site.run(&["agents", "weight", &first, "10"]).ok();
    site.run(&["agents", "disable", &second]).ok();
    eventually("it is disabled", Duration::from_secs(5), || {
        (site.member_status(&second) == "Disabled").then_some(())
    });
}

#[test]
fn a_terminated_agent_finishes_its_sessions_first() {
    let mut site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    let mut held: Vec<_> = (0..10).map(|_| caller::open_echo(echo).unwrap().0).collect();
    site.agents[0].process.terminate();
    eventually("new sessions go elsewhere", Duration::from_secs(10), || {
        (site.member_status(&site.agents[0].id) != "Active").then_some(())
    });
    for _ in 0..20 {
        caller::open_echo(echo).unwrap();
    }
    held.iter_mut().for_each(|session| caller::round_trip(session, b"to the end").unwrap());
    drop(held);
    let status = site.agents[0].process.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0), "{}", site.agents[0].process.log());
}

#[test]
fn a_leader_that_is_stopped_hands_its_lead_over() {
    // Patient ones: on a busy machine another might have stood for election just before.
    let mut site = Site::builder().start();
    for name in ["agent-1", "agent-2", "agent-3"] {
        site.add_agent(name, &["--profile", "wan"]);
    }
    site.wait_for_members(3);
    let leader = site.leader();
    site.agents[leader].process.terminate();
    site.resource("db", target::echo());
    let status = site.agents[leader].process.wait(Duration::from_secs(40));
    let log = site.agents[leader].process.log();
    assert!(status.success(), "{log}");
    assert!(
        log.lines().any(|line| line.contains("lead handed over") && line.contains("elected=true")),
        "{log}"
    );
    assert_ne!(site.leader(), leader);
}
