//! A crowd at the gateway's port that says nothing, or next to nothing.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use warren_cluster_tests::{
    Site, caller, target,
    tls::Credentials,
    tunnel::{Hello, Tunnel},
};

/// The record header of a ClientHello that never comes.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1];

fn crowd(site: &Site) -> Vec<TcpStream> {
    let strangers = (0..1_000).map(|number| {
        let mut stranger = TcpStream::connect(site.listen()).unwrap();
        if number % 2 == 0 {
            stranger.write_all(HALF_A_HELLO).unwrap();
        }
        stranger
    });
    strangers.collect()
}

#[test]
fn a_thousand_silent_strangers_delay_nobody() {
    let site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    site.run(&["groups", "create", "other"]).ok();
    let mut lent = site.start_agent("lent", &site.token_of("other", &[]), &[]);
    lent.process.ready();
    lent.process.kill();
    let credentials = Credentials::of_agent(&lent.data());
    let token = site.token(&[]);

    let first = crowd(&site);
    // From the first packet to a tunnel through which an echo went.
    let mut took: Vec<Duration> = (1..=9)
        .map(|epoch| {
            let start = Instant::now();
            let hello = Hello { boot: 1, epoch, slot: 0 };
            Tunnel::connect(site.listen(), &credentials, hello).unwrap();
            start.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[4] < Duration::from_secs(1), "a good agent connects in under a second: {took:?}");
    assert!(took[8] < Duration::from_secs(4), "each and every time: {took:?}");

    // An agent that nobody knows yet enrols, gets its tunnels and joins, callers come through: all in a crowd.
    let second = crowd(&site);
    let start = Instant::now();
    let mut agent = site.start_agent("agent-2", &token, &[]);
    agent.process.ready();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "enrolled and joined in {took:?}");
    caller::open_echo(echo).unwrap();
    drop((first, second));
}
