//! The main job: callers reach a private target through a group, and a member's death costs the next caller nothing.

use std::time::Duration;

use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

#[test]
fn sessions_spread_and_a_killed_member_costs_the_next_caller_nothing() {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    for _ in 0..60 {
        caller::open_echo(echo).unwrap();
    }
    let before = site.spread("echo");
    assert_eq!(before.len(), 3, "all members carry sessions: {before:?}");

    let held: Vec<_> = (0..12).map(|_| caller::open_echo(echo).unwrap().0).collect();
    site.agents[0].process.kill();
    for attempt in 0..30 {
        caller::open_echo(echo).unwrap_or_else(|error| panic!("open {attempt} after the kill: {error}"));
    }
    let survivors =
        held.into_iter().filter_map(|mut session| caller::round_trip(&mut session, b"still?").ok()).count();
    assert!(survivors > 0, "sessions on the other members live on");

    site.agents[0].restart();
    site.agents[0].process.ready();
    site.wait_for_members(3);
    let returned = site.agents[0].id.clone();
    let had = site.spread("echo").get(&returned).copied().unwrap_or(0);
    eventually("the member that returned takes sessions again", Duration::from_secs(30), || {
        caller::open_echo(echo).unwrap();
        (site.spread("echo").get(&returned).copied().unwrap_or(0) > had).then_some(())
    });
}

#[test]
fn bytes_arrive_whole_both_ways_and_half_closes_are_kept() {
    let site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    for length in [0, 1, 16_384, 65_537, 3 << 20] {
        caller::echo_whole(echo, length).unwrap_or_else(|error| panic!("{length} bytes: {error}"));
    }
}

#[test]
fn quorum_is_for_config_and_never_for_traffic() {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());

    let leader = site.leader();
    site.agents[leader].process.kill();
    let second = site.resource("second", target::echo());
    caller::open_echo(second).unwrap();

    let next = site.leader();
    site.agents[next].process.kill();
    let third = target::echo().to_string();
    let refused = site.run(&["resources", "create", "third", "--group", GROUP, "--target", &third]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("quorum"), "{refused:?}");
    for _ in 0..10 {
        caller::open_echo(echo).unwrap();
        caller::open_echo(second).unwrap();
    }

    for down in [leader, next] {
        site.agents[down].restart();
        site.agents[down].process.ready();
    }
    site.wait_for_members(3);
    let third = site.resource("third", third);
    caller::open_echo(third).unwrap();
    let resources = site.json(&["resources", "list", "--group", GROUP]);
    assert_eq!(
        resources.as_array().map(Vec::len),
        Some(3),
        "nothing was lost and nothing refused was kept: {resources:?}"
    );
}

#[test]
fn the_whole_group_killed_and_restarted_keeps_its_config() {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let before = site.json(&["config", "get", "--group", GROUP]);
    site.agents.iter_mut().for_each(|agent| agent.process.kill());
    for agent in &mut site.agents {
        agent.restart();
    }
    for agent in &mut site.agents {
        agent.process.ready();
    }
    site.wait_for_members(3);
    assert_eq!(site.json(&["config", "get", "--group", GROUP]), before);
    caller::open_echo(echo).unwrap();
}
