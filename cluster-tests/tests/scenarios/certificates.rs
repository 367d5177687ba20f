//! Certificates are renewed at half of their life, and nobody notices.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use warren_cluster_tests::{Site, caller, eventually, hold, target};

/// The shortest that the gateway takes.
const LIFE: Duration = Duration::from_secs(60);

fn ends(status: &Value) -> Vec<String> {
    let members = status["members"].as_array().unwrap();
    members.iter().map(|member| member["certificate_expires"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn certificates_are_renewed_under_a_live_session() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    fs::write(&file, "certificate_lifetime: 1m\n").unwrap();
    let mut site = Site::builder().gateway_args(&["--config", file.to_str().unwrap()]).start();
    for name in ["agent-1", "agent-2"] {
        site.add_agent(name, &[]);
    }
    let enrolled = Instant::now();
    site.wait_for_members(2);
    let echo = site.resource("echo", target::echo());
    let first = ends(&site.status());
    let mut sessions: Vec<_> = (0..8).map(|_| caller::open_echo(echo).unwrap().0).collect();
    let mut all_speak =
        || sessions.iter_mut().all(|session| caller::round_trip(session, b"without a break").is_ok());

    // RFC 3339 in UTC sorts by time.
    let (renewed, _) = eventually("all certificates end later", LIFE * 3 / 4, || {
        assert!(all_speak(), "a session broke before the renewal");
        let now = ends(&site.status());
        now.iter().zip(&first).all(|(now, first)| now > first).then_some(enrolled.elapsed())
    });
    assert!(renewed > LIFE / 4, "renewed at half of their life, not after {renewed:?}");

    let rest = (LIFE + Duration::from_secs(2)).saturating_sub(enrolled.elapsed());
    hold("sessions go on past the end of the first certificates", rest, &mut all_speak);
    let log = site.gateway.log();
    assert!(!log.contains("tunnel down"), "no tunnel was made anew: {log}");

    // The first certificates are worth nothing by now: who comes back shows a renewed one.
    site.kill_gateway();
    site.restart_gateway();
    site.wait_for_members(2);
    eventually("sessions are opened", Duration::from_secs(10), || caller::open_echo(echo).ok());
    site.agents[0].restart();
    site.agents[0].process.ready();
    site.wait_for_members(2);
}
