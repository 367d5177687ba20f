//! What a gateway does with an agent, enrolled and verified, that then breaks the protocol.

use warren_cluster_tests::{
    Site, caller, http, target,
    tls::Credentials,
    tunnel::{Closed, Hello, Tunnel, frame, frame_of_length, message},
};

const PROTOCOL_ERROR: u8 = 1;
const BOOT: u64 = 0x5EED;

const OPEN: u8 = 2;
const DATA: u8 = 4;
const CREDIT: u8 = 5;
const PING: u8 = 8;
const DRAIN: u8 = 10;

/// What is sent, and a word of the reason that the gateway must give for closing the tunnel.
fn faults() -> Vec<(Vec<u8>, &'static str)> {
    let frames = [
        (frame(99, 0, b""), "unknown frame type 99"),
        (frame(0, 0, &[0; 64]), "unknown frame type 0"),
        (vec![0xFF; 70_000], "unknown frame type 255"),
        (frame_of_length(PING, 0, u32::MAX, b""), "4294967295 bytes"),
        (frame_of_length(DATA, 1, (64 << 10) + 9, b""), "65545 bytes"),
        (frame(PING, 0, &[0; 9]), "after the last field"),
        (frame(PING, 0, &[0; 7]), "ends inside"),
        (frame(PING, 7, &[0; 8]), "session"),
        (frame(DATA, 0, &[0; 16]), "session"),
        (vec![PING, 1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], "flags"),
        (frame(DRAIN, 0, &[0, 0, 0, 0, 0, 2, 0xC3, 0x28]), "utf-8"),
        (frame(DATA, 1 << 40, &[0; 16]), "never opened"),
        (frame(CREDIT, 1 << 40, &[0; 12]), "never opened"),
        (frame(OPEN, 1, &[0; 31]), "open"),
        (Hello { boot: BOOT, epoch: 1_000, slot: 1 }.frame(), "hello"),
    ];
    let mut faults: Vec<_> = frames.into_iter().map(|(bytes, word)| (message(2, &bytes), word)).collect();
    faults.extend([
        (message(1, b"text"), "opcode 1"),
        (vec![0x82, 0x02, 0, 0], "not masked"),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0], "1048576 bytes"),
        (vec![0xC2, 0x80, 0, 0, 0, 0], "reserved bits"),
    ]);
    faults
}

#[test]
fn a_broken_frame_ends_its_tunnel_and_no_other() {
    let mut site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    let (mut session, _) = caller::open_echo(echo).unwrap();
    // An agent of the same gateway, in a group of its own, whose identity is used by hand.
    site.run(&["groups", "create", "other"]).ok();
    let mut lent = site.start_agent("lent", &site.token_of("other", &[]), &[]);
    lent.process.ready();
    lent.process.kill();
    let credentials = Credentials::of_agent(&lent.data());
    let (gateway, metrics) = (site.listen(), site.gateway.address("metrics"));
    let count = || http::sum(&http::metrics(metrics), "warren_tunnel_protocol_errors_total", "");

    let mut neighbour =
        Tunnel::connect(gateway, &credentials, Hello { boot: BOOT, epoch: 1, slot: 0 }).unwrap();
    let before = count();
    let faults = faults();
    for (number, (bytes, word)) in (1_u32..).zip(&faults) {
        let hello = Hello { boot: BOOT, epoch: 1 + u64::from(number), slot: 1 };
        let mut tunnel = Tunnel::connect(gateway, &credentials, hello).unwrap();
        // The gateway may hang up before it has heard all of it.
        let _ = tunnel.say_raw(bytes);
        let Closed { reason, detail } =
            tunnel.closed().unwrap_or_else(|error| panic!("`{word}` is answered by a close: {error}"));
        assert_eq!(reason, PROTOCOL_ERROR, "{detail}");
        assert!(detail.contains(word), "`{word}` in: {detail}");
        assert_eq!(count() - before, f64::from(number), "{word} is counted");
        caller::round_trip(&mut session, b"undisturbed").unwrap();
        neighbour.ping(number.into()).unwrap_or_else(|error| panic!("the other tunnel, {word}: {error}"));
    }
    assert_eq!(site.status()["members"][0]["tunnels"], 2);
    caller::open_echo(echo).unwrap();

    // Before hello there is nothing to be patient with either.
    let mut rude = Tunnel::upgrade(gateway, &credentials).unwrap();
    rude.say(&frame(PING, 0, &[0; 8])).unwrap();
    assert_eq!(rude.closed().unwrap().reason, PROTOCOL_ERROR);
}
