//! Silence.

use std::time::Duration;

use super::pair::Pair;
use crate::{
    frame::{CloseReason, Frame, ResetReason},
    machine::{Config, Event, Liveness},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn pings_keep_an_idle_tunnel_alive() {
    let mut pair = Pair::new();
    pair.latency = Duration::from_millis(20);
    pair.pass(60 * SECOND);
    assert_eq!(pair.gateway.events(), []);
    assert_eq!(pair.agent.tunnel.liveness(), Liveness::Alive);
    let rtt = pair.gateway.tunnel.rtt().unwrap();
    assert!(rtt > Duration::from_millis(35) && rtt <= Duration::from_millis(40), "{rtt:?}");
}

#[test]
fn silence_makes_suspect_then_dead() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.agent.muted = true;
    pair.gateway.muted = true;
    pair.pass(3900 * SECOND / 1000);
    assert_eq!(pair.gateway.tunnel.liveness(), Liveness::Alive);
    pair.pass(SECOND / 5);
    assert_eq!(
        (pair.gateway.tunnel.liveness(), pair.gateway.events()),
        (Liveness::Suspect, vec![Event::Suspect])
    );
    pair.pass(4 * SECOND);
    let events = pair.gateway.events();
    assert!(
        matches!(
            &events[..],
            [
                Event::Reset { reason: ResetReason::TunnelLost, .. },
                Event::Closed { reason: CloseReason::NotAlive, by_peer: false, .. }
            ]
        ),
        "{events:?}"
    );
    assert_eq!(pair.gateway.tunnel.liveness(), Liveness::Dead);
    assert_eq!(pair.gateway.tunnel.poll_timeout(), None);
}

#[test]
fn any_frame_ends_the_suspicion() {
    let mut pair = Pair::new();
    pair.agent.muted = true;
    pair.pass(5 * SECOND);
    assert_eq!(pair.gateway.events(), [Event::Suspect]);
    pair.inject_to_gateway(&Frame::Ping { nonce: 1 });
    assert_eq!(pair.gateway.events(), [Event::Recovered]);
    assert_eq!(pair.gateway.tunnel.liveness(), Liveness::Alive);
}

#[test]
fn when_one_direction_is_lost_the_other_end_is_told() {
    let mut pair = Pair::new();
    pair.agent.muted = true;
    pair.pass(9 * SECOND);
    let closed =
        |event: &Event| matches!(event, Event::Closed { reason: CloseReason::NotAlive, by_peer: true, .. });
    assert!(pair.agent.events().iter().any(closed), "the gateway gave up and its close was heard");
}

#[test]
fn without_a_hello_the_tunnel_closes() {
    let mut pair = Pair::strangers(Config::default(), Config::default());
    pair.agent.muted = true;
    pair.pass(4900 * SECOND / 1000);
    assert!(!pair.gateway.tunnel.is_ended());
    pair.pass(SECOND / 5);
    let events = pair.gateway.events();
    assert!(matches!(&events[..], [Event::Closed { reason: CloseReason::NotAlive, .. }]), "{events:?}");
}

#[test]
fn a_blocked_connection_gets_one_ping_not_a_heap() {
    let mut pair = Pair::new();
    let mut now = pair.now;
    for _ in 0..20 {
        now += 2 * SECOND;
        pair.gateway.tunnel.handle_frame(Frame::Pong { nonce: 0 }, now).unwrap();
        pair.gateway.tunnel.handle_timeout(now);
    }
    assert!(matches!(&pair.gateway.batch(now)[..], [Frame::Ping { .. }]));
}
