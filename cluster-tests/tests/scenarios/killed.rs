//! Whoever is killed resets the connections it carried: an end that nobody said must not look like one, to a caller that reads
//! an answer until it ends, or to a target that keeps what it got.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use warren_cluster_tests::{Site, caller, target};

const SOON: Duration = Duration::from_secs(30);

/// Caller and target of one session that has carried a byte each way.
fn session(site: &Site, name: &str) -> (TcpStream, TcpStream) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let resource = site.resource(name, target.local_addr().unwrap());
    let mut caller = caller::connect(resource).unwrap();
    caller.write_all(b"x").unwrap();
    let mut at_target = target::first_to_speak(&target).unwrap();
    at_target.write_all(b"y").unwrap();
    caller.set_read_timeout(Some(SOON)).unwrap();
    caller.read_exact(&mut [0]).unwrap();
    (caller, at_target)
}

#[test]
fn a_killed_gateway_resets_its_callers() {
    let mut site = Site::with_agents(1);
    let (caller, _target) = session(&site, "first");
    let (has_said_all, mut target) = session(&site, "second");
    has_said_all.shutdown(Shutdown::Write).unwrap();
    assert_eq!(target.read(&mut [0]).unwrap(), 0);
    let waits = caller::connect(site.resource("third", target::black_hole())).unwrap();
    site.kill_gateway();
    for socket in [caller, has_said_all, waits] {
        caller::expect_reset(socket, SOON);
    }
}

#[test]
fn a_killed_agent_resets_its_targets() {
    // So long does the gateway wait for the agent to come back.
    let mut site = Site::builder().gateway_file("tunnel: {resume_within: 2s}\n").start();
    site.add_agent("agent-1", &[]);
    site.wait_for_members(1);
    let (caller, target) = session(&site, "watched");
    site.agents[0].process.kill();
    caller::expect_reset(target, SOON);
    caller::expect_reset(caller, SOON);
}
