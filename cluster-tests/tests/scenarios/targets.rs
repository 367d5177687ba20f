//! What a caller and the operator see when a target cannot be reached.

use std::time::Duration;

use serde_json::Value;
use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

/// The newest session of `resource`.
fn last_session(site: &Site, resource: &str) -> Value {
    let (session, _) = eventually("the session is in the records", Duration::from_secs(15), || {
        site.sessions(resource).into_iter().find(|session| session["outcome"] != "open")
    });
    session
}

#[test]
fn each_way_a_target_fails_has_its_own_result() {
    let mut site = Site::builder().start();
    let veto = site.path("veto.yaml");
    std::fs::write(&veto, "dial_timeout: 1s\nveto:\n  deny: [127.0.0.66/32, '*.forbidden.example']\n")
        .unwrap();
    site.add_agent("agent-1", &["--config", veto.to_str().unwrap()]);
    site.wait_for_members(1);
    // A listener whose queue is full answers no further connection, as a black hole would.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = listener.local_addr().unwrap();
    let fill: Vec<_> = (0..4_200)
        .map_while(|_| std::net::TcpStream::connect_timeout(&hole, Duration::from_millis(100)).ok())
        .collect();

    let cases = [
        ("refusing", target::refusing().to_string(), "refused"),
        ("hole", hole.to_string(), "timeout"),
        ("nowhere", "no-such-host.invalid:80".to_owned(), "dns"),
        ("vetoed", "127.0.0.66:80".to_owned(), "denied"),
    ];
    for (name, target, result) in cases {
        let port = site.resource(name, target);
        assert!(caller::ends_silently(port), "{name}: the caller is told by a close");
        let session = last_session(&site, name);
        assert_eq!(session["outcome"], result, "{name}: {session}");
    }
    drop(fill);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();
}

#[test]
fn the_sites_veto_can_be_changed_while_it_runs() {
    let mut site = Site::builder().start();
    let file = site.path("agent.yaml");
    std::fs::write(&file, "veto: {}\n").unwrap();
    site.add_agent("agent-1", &["--config", file.to_str().unwrap()]);
    site.wait_for_members(1);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();

    std::fs::write(&file, "veto:\n  deny: [127.0.0.0/8]\n").unwrap();
    site.agents[0].process.hang_up();
    eventually("the veto bites", Duration::from_secs(10), || caller::open_echo(echo).is_err().then_some(()));
    std::fs::write(&file, "veto:\n  deny: [nonsense/99]\n").unwrap();
    site.agents[0].process.hang_up();
    eventually("the mistake is told", Duration::from_secs(10), || {
        site.agents[0].process.log().contains("veto.deny[0]").then_some(())
    });
    assert!(caller::open_echo(echo).is_err(), "a broken file changes nothing");
    std::fs::write(&file, "veto: {}\n").unwrap();
    site.agents[0].process.hang_up();
    eventually("it is lifted", Duration::from_secs(10), || caller::open_echo(echo).ok());
}

#[test]
fn the_groups_own_rules_deny_too() {
    let site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();
    let mut config = site.json(&["config", "get", "--group", GROUP])["config"].clone();
    config["destinations"] = serde_json::json!({"deny": ["127.0.0.0/8"]});
    let file = site.path("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    site.run(&["config", "set", "--group", GROUP, "--file", file.to_str().unwrap()]).ok();
    eventually("the rule bites", Duration::from_secs(5), || caller::open_echo(echo).is_err().then_some(()));
    site.run(&["config", "rollback", "--group", GROUP, "1"]).ok();
    eventually("it is rolled back", Duration::from_secs(5), || caller::open_echo(echo).ok());
}
