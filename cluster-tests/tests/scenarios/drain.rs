//! A gateway that is told to stop: as a rollout does it, and as an impatient person does it.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use warren_cluster_tests::{Site, caller, eventually, http, target};

const SOON: Duration = Duration::from_secs(15);

/// A site with one agent, and a session through it.
fn site_with_session(drain: &str) -> (Site, TcpStream) {
    let mut site = Site::builder().gateway_args(&["--drain", drain]).start();
    site.add_agent("agent-1", &[]);
    site.wait_for_members(1);
    let echo = site.resource("echo", target::echo());
    let (session, _) = caller::open_echo(echo).unwrap();
    (site, session)
}

fn drain(site: &mut Site) {
    let metrics = site.gateway.address("metrics");
    site.gateway.terminate();
    eventually("it is not ready", Duration::from_secs(5), || {
        http::get(metrics, "/readyz").is_ok_and(|(status, _)| status == 503).then_some(())
    });
}

#[test]
fn a_terminated_gateway_finishes_its_sessions_and_takes_no_more() {
    let (mut site, mut session) = site_with_session("30s");
    let echo = session.peer_addr().unwrap();
    drain(&mut site);
    eventually("callers are turned away", Duration::from_secs(5), || {
        caller::open_echo(echo).is_err().then_some(())
    });
    for _ in 0..20 {
        caller::round_trip(&mut session, b"to the end").unwrap();
    }
    assert!(site.gateway.exited().is_none(), "it waits for its sessions");
    drop(session);
    let status = site.gateway.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{}", site.gateway.log());
    assert!(site.agents[0].process.exited().is_none(), "an agent outlives its gateway");
    site.restart_gateway();
    site.wait_for_members(1);
    eventually("the same port serves again", Duration::from_secs(10), || caller::open_echo(echo).ok());
}

#[test]
fn the_deadline_of_a_drain_cuts_what_is_left() {
    let (mut site, mut session) = site_with_session("1s");
    let start = Instant::now();
    drain(&mut site);
    caller::wait_for_end(&mut session, SOON).unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1), "not before the deadline: {took:?}");
    let status = site.gateway.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{}", site.gateway.log());
    assert!(site.gateway.log().contains("sessions cut"), "{}", site.gateway.log());
}

#[test]
fn a_second_signal_stops_at_once() {
    let (mut site, mut session) = site_with_session("10m");
    drain(&mut site);
    site.gateway.terminate();
    caller::wait_for_end(&mut session, SOON).unwrap();
    site.gateway.wait(Duration::from_secs(10));
}
