//! Draining with live sessions, from both ends: they finish, and they move when a tunnel breaks meanwhile. Those that are on no
//! tunnel at the end are reset like the others: whoever is cut must not take it for an end.

use std::{io::Write, net::TcpListener, time::Duration};

use warren_cluster_tests::{
    Site, caller, eventually,
    load::{self, Answers, Interactive},
    relay::End,
    target,
};

const EVERY: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(30);

/// Waits for two hundred more answers.
fn go_on(interactive: &Interactive) {
    let before = interactive.answered();
    eventually("sessions go on", SOON, || (interactive.answered() > before + 200).then_some(()));
}

#[test]
fn sessions_of_a_draining_gateway_finish_although_a_tunnel_breaks() {
    let seed = load::seed(1);
    let (mut site, relay) = Site::builder().gateway_args(&["--drain", "2m"]).behind_relay(2, "");
    let answers = site.resource("answers", Answers::new().address);
    let echo = site.resource("echo", target::echo());
    let interactive = Interactive::start(answers, 20, EVERY, seed);
    let tunnels = relay.connections();
    site.gateway.terminate();
    eventually("callers are turned away", SOON, || caller::open_echo(echo).is_err().then_some(()));
    go_on(&interactive);
    tunnels[0].cut(End::Reset);
    go_on(&interactive);
    assert!(site.gateway.exited().is_none(), "it waits for its sessions");
    let summary = interactive.finish();
    assert!(summary.failures.is_empty(), "SEED={seed}: {:?}", summary.failures);
    assert_eq!(site.gateway.wait(SOON).code(), Some(0), "{}", site.gateway.log());
}

#[test]
fn a_session_on_no_tunnel_is_reset_when_the_gateway_stops() {
    let mut site = Site::builder().gateway_args(&["--drain", "3s"]).start();
    site.add_agent("agent-1", &[]);
    site.wait_for_members(1);
    let echo = site.resource("echo", target::echo());
    let (session, _) = caller::open_echo(echo).unwrap();
    site.agents[0].process.kill();
    let dead = site.agents[0].id.clone();
    eventually("the gateway knows", SOON, || (site.member_status(&dead) == "No response").then_some(()));
    site.gateway.terminate();
    caller::expect_reset(session, SOON);
    assert_eq!(site.gateway.wait(SOON).code(), Some(0));
    let log = site.gateway.log();
    assert!(log.contains("sessions cut at the end of the drain sessions=1"), "{log}");
}

#[test]
fn a_session_on_no_tunnel_is_reset_when_its_agent_stops() {
    let (mut site, relay) = Site::builder().behind_relay(1, "drain: 3s\n");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let resource = site.resource("watched", target.local_addr().unwrap());
    let mut session = caller::connect(resource).unwrap();
    session.write_all(b"x").unwrap();
    let at_target = target::first_to_speak(&target).unwrap();
    relay.refuse();
    relay.cut(End::Reset);
    let agent = &mut site.agents[0].process;
    eventually("it has no tunnel", SOON, || agent.log().contains("no tunnel, will dial again").then_some(()));
    agent.terminate();
    caller::expect_reset(at_target, SOON);
    assert_eq!(agent.wait(SOON).code(), Some(0), "{}", agent.log());
}

#[test]
fn sessions_of_a_draining_agent_finish_although_a_tunnel_breaks() {
    let seed = load::seed(2);
    let (mut site, relay) = Site::builder().behind_relay(2, "drain: 2m\n");
    let answers = site.resource("answers", Answers::new().address);
    let interactive = Interactive::start(answers, 20, EVERY, seed);
    let drained = site.agents[0].id.clone();
    let tunnels = relay.connections();
    site.add_agent("agent-2", &[]);
    site.wait_for_members(2);
    site.agents[0].process.terminate();
    eventually("the gateway knows", SOON, || (site.member_status(&drained) == "Draining").then_some(()));
    go_on(&interactive);
    tunnels[0].cut(End::Reset);
    go_on(&interactive);
    let echo = site.resource("echo", target::echo());
    for _ in 0..20 {
        caller::open_echo(echo).unwrap();
    }
    assert!(!site.spread("echo").contains_key(&drained), "what is new goes elsewhere");
    assert!(site.agents[0].process.exited().is_none(), "it waits for its sessions");
    let summary = interactive.finish();
    assert!(summary.failures.is_empty(), "SEED={seed}: {:?}", summary.failures);
    let agent = &mut site.agents[0].process;
    assert_eq!(agent.wait(SOON).code(), Some(0), "{}", agent.log());
}
