//! A tunnel counts while it carries data; that it answers pings is not enough.

use std::{
    thread,
    time::{Duration, Instant},
};

use warren_cluster_tests::{
    Site, eventually, hold,
    tls::Credentials,
    tunnel::{Closed, Hello, Tunnel},
};

const OPEN: u8 = 2;
const PING: u8 = 8;
/// Of a tunnel that the gateway gives up because nothing goes through it.
const NOT_ALIVE: u8 = 5;
const RECYCLED: u8 = 7;

/// A gateway that looks often, and somebody who has the credentials of its only agent.
fn site() -> (Site, Credentials) {
    let mut site = Site::builder().gateway_file("tunnel: {echo: 1s}\n").start();
    site.add_agent("lent", &[]);
    let agent = &mut site.agents[0];
    agent.process.kill();
    let credentials = Credentials::of_agent(&agent.data());
    eventually("none of its tunnels is left", Duration::from_secs(15), || {
        (tunnels(&site) == 0).then_some(())
    });
    (site, credentials)
}

/// Tunnels of the agent that the gateway counts on.
fn tunnels(site: &Site) -> u64 {
    site.member(&site.agents[0].id)["tunnels"].as_u64().unwrap_or_default()
}

#[test]
fn a_tunnel_that_pings_and_no_longer_carries_is_recycled() {
    let (site, credentials) = site();
    for answered in [&[PING][..], &[PING, OPEN]] {
        // Verified by the first echo; then its far end opens sessions at most, and never moves a byte.
        let hello = Hello { boot: u64::MAX, epoch: answered.len() as u64, slot: 0 };
        let tunnel = Tunnel::connect(site.listen(), &credentials, hello).unwrap();
        let start = Instant::now();
        let answering = thread::spawn(move || tunnel.closed_while_answering(|kind| answered.contains(&kind)));
        eventually("it counts", Duration::from_secs(2), || (tunnels(&site) == 1).then_some(()));
        eventually("it counts no more", Duration::from_secs(30), || (tunnels(&site) == 0).then_some(()));
        let Closed { reason, detail } = answering.join().unwrap().unwrap();
        let took = start.elapsed();
        assert!([NOT_ALIVE, RECYCLED].contains(&reason), "{reason}: {detail}");
        assert!(detail.contains("does not carry"), "{detail}");
        assert!(took > Duration::from_secs(4), "one missed echo is forgiven: {took:?}");
    }
}

#[test]
fn a_tunnel_that_never_carried_counts_for_nothing() {
    let (site, credentials) = site();
    let mut tunnel = Tunnel::upgrade(site.listen(), &credentials).unwrap();
    tunnel.say(&Hello { boot: u64::MAX, epoch: 1, slot: 0 }.frame()).unwrap();
    let answering = thread::spawn(move || tunnel.closed_while_answering(|kind| kind == PING));
    hold("it does not count", Duration::from_secs(8), || tunnels(&site) == 0);
    let Closed { reason, detail } = answering.join().unwrap().unwrap();
    assert!([NOT_ALIVE, RECYCLED].contains(&reason) && detail.contains("echo"), "{reason}: {detail}");
}
