//! What a scraper and Kubernetes see: /metrics, /livez, /readyz.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, time::Duration};

use warren_cluster_tests::{Site, caller, eventually, http, target};

/// The names in the README's table of metrics.
fn documented() -> BTreeSet<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.filter(|(_, rest)| ["gauge", "counter", "histogram"].iter().any(|kind| rest.starts_with(kind)))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn gateway_and_agent_show_what_the_readme_says() {
    let mut site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    caller::open_echo(echo).unwrap();
    let refusing = site.resource("refusing", target::refusing());
    assert!(caller::ends_silently(refusing));
    let (gateway, agent) = (site.gateway.address("metrics"), site.agents[0].process.address("metrics"));
    // Gauges follow within seconds.
    eventually("what happened is shown", Duration::from_secs(15), || {
        let text = http::metrics(gateway);
        let ended = |result| http::sum(&text, "warren_gateway_sessions_total", result);
        let revision = http::sum(&text, "warren_gateway_config_revision", "site");
        (ended("closed") + ended("caller_gone") >= 1.0 && ended("refused") >= 1.0 && revision == 2.0)
            .then_some(())
    });

    let documented = documented();
    let shown = [http::metrics(gateway), http::metrics(agent)];
    for text in &shown {
        for name in http::names(text) {
            assert!(documented.contains(name), "{name} is shown and stands in no table of the README");
        }
        assert!(http::sum(text, "process_resident_memory_bytes", "") > 1e6, "{text}");
        assert_eq!(http::sum(text, "warren_build_info", "version"), 1.0, "{text}");
        assert!(http::sum(text, "warren_data_available_bytes", "") > 0.0, "{text}");
        assert!(http::sum(text, "warren_tunnel_frames_total", "in") > 0.0, "{text}");
    }
    for name in [
        "warren_gateway_tunnels",
        "warren_gateway_members",
        "warren_gateway_sessions",
        "warren_gateway_sessions_total",
        "warren_gateway_open_seconds",
        "warren_gateway_session_bytes_total",
        "warren_gateway_config_revision",
        "warren_gateway_certificate_expiry_timestamp_seconds",
        "warren_tunnel_bytes_total",
        "warren_tunnel_opens_total",
        "warren_tunnel_rtt_seconds",
    ] {
        assert!(http::names(&shown[0]).contains(&name), "{name} of the gateway");
    }
    for name in [
        "warren_agent_info",
        "warren_agent_tunnels",
        "warren_agent_sessions",
        "warren_agent_sessions_total",
        "warren_agent_dial_seconds",
        "warren_agent_probe_up",
        "warren_agent_certificate_expiry_timestamp_seconds",
        "warren_raft_term",
        "warren_raft_is_leader",
        "warren_raft_committed_index",
        "warren_raft_applied_index",
        "warren_group_revision",
        "warren_group_voters",
        "warren_group_quorum",
    ] {
        assert!(http::names(&shown[1]).contains(&name), "{name} of the agent");
    }
    assert_eq!(http::sum(&shown[0], "warren_gateway_tunnels", "site"), 2.0);
    assert_eq!(http::sum(&shown[0], "warren_gateway_members", "status=\"active\""), 1.0, "{}", shown[0]);
    assert_eq!(http::sum(&shown[1], "warren_agent_tunnels", ""), 2.0);
    assert_eq!(
        http::sum(&shown[1], "warren_agent_info", "group=\"site\",member=\"agent-1\""),
        1.0,
        "{}",
        shown[1]
    );
    assert_eq!(http::sum(&shown[1], "warren_raft_is_leader", ""), 1.0);
    assert_eq!(http::sum(&shown[1], "warren_group_revision", ""), 2.0);
    for address in [gateway, agent] {
        for path in ["/livez", "/readyz"] {
            assert_eq!(http::get(address, path).unwrap().0, 200, "{path}");
        }
        assert_eq!(http::get(address, "/").unwrap().0, 404);
    }
}

#[test]
fn an_agent_is_ready_with_a_tunnel_or_a_group_and_not_without_both() {
    let mut site = Site::builder().start();
    // Nobody else uses this address: the port stays free until the agent takes it.
    let metrics = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let token = site.token(&[]);
    let args: Vec<String> = [
        ["agent", "--peer-listen", "127.0.0.1:0", "--metrics", &metrics.to_string()],
        ["--data-dir", &path("late/data"), "--token", &token, "--name=late"],
    ]
    .concat()
    .into_iter()
    .map(String::from)
    .chain(["--gateway".into(), site.url(), "--ca".into(), site.ca()])
    .collect();
    let status = |path| http::get(metrics, path).map_or(0, |(status, _)| status);

    site.kill_gateway();
    let mut agent = site.launch_agent("late", args, &[]);
    eventually("it lives", Duration::from_secs(20), || (status("/livez") == 200).then_some(()));
    let (_, why) = http::get(metrics, "/readyz").unwrap();
    assert_eq!(status("/readyz"), 503, "not enrolled, no gateway: {why}");
    assert!(why.starts_with("not ready: "), "{why}");

    site.restart_gateway();
    agent.process.ready();
    eventually("it is ready", Duration::from_secs(5), || (status("/readyz") == 200).then_some(()));

    // The cloud is away: a rollout on site must not wait for it.
    site.kill_gateway();
    agent.restart();
    eventually("a member is ready by itself", Duration::from_secs(20), || {
        (status("/readyz") == 200).then_some(())
    });
    assert!(!agent.process.is_ready(), "the ready file promises a tunnel as well");
    site.restart_gateway();
    agent.process.ready();
}
