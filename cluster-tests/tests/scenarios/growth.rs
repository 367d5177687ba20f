//! A group of one works, and grows without a restart.

use warren_cluster_tests::{GROUP, Site, caller, target};

#[test]
fn one_member_grows_to_three_and_a_stopped_one_catches_up() {
    let mut site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();
    for name in ["agent-2", "agent-3"] {
        site.add_agent(name, &[]);
    }
    site.wait_for_members(3);
    site.agents[2].process.kill();
    let late = target::echo();
    for number in 0..20 {
        site.resource(&format!("late-{number}"), late);
    }
    site.agents[2].restart();
    site.agents[2].process.ready();
    site.wait_for_members(3);
    let status = site.status();
    assert_eq!(status["revision"], 21, "{status}");
    assert_eq!(status["state"], "Healthy", "{status}");
}

#[test]
fn a_lone_member_restarts_into_the_same_group() {
    let mut site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    site.agents[0].restart();
    site.agents[0].process.ready();
    site.wait_for_members(1);
    caller::open_echo(echo).unwrap();
    assert_eq!(site.json(&["config", "history", "--group", GROUP]).as_array().map(Vec::len), Some(1));
}
