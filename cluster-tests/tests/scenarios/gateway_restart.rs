//! The gateway is killed and comes back: nothing has to be done again.

use std::time::Duration;

use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

#[test]
fn a_killed_gateway_comes_back_on_its_ports_with_its_agents() {
    let mut site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();
    let config = site.json(&["config", "get", "--group", GROUP]);

    site.kill_gateway();
    assert!(caller::open_echo(echo).is_err());
    site.restart_gateway();
    site.wait_for_members(2);
    eventually("the same port serves again", Duration::from_secs(20), || caller::open_echo(echo).ok());
    assert_eq!(site.json(&["config", "get", "--group", GROUP]), config);
    let second = site.resource("second", target::echo());
    caller::open_echo(second).unwrap();
}

#[test]
fn a_resource_is_reached_at_once_after_it_was_made() {
    let site = Site::with_agents(3);
    for number in 0..5 {
        let echo = site.resource(&format!("echo-{number}"), target::echo());
        for _ in 0..6 {
            caller::open_echo(echo).unwrap();
        }
    }
}
