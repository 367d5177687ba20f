use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use super::*;
use crate::{caller, eventually, hold, load, target};

const SOON: Duration = Duration::from_secs(5);

fn echo() -> (Relay, TcpStream, Connection) {
    let relay = Relay::start(target::echo());
    let (socket, _) = caller::open_echo(relay.address()).unwrap();
    let connection = only(&relay);
    (relay, socket, connection)
}

fn only(relay: &Relay) -> Connection {
    let connections = relay.connections();
    assert_eq!(connections.len(), 1);
    connections[0].clone()
}

/// Sends all, and gives what comes back until the end, and that end.
fn sent(socket: &mut TcpStream, bytes: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    let _ = socket.write_all(bytes);
    let mut got = Vec::new();
    let end = socket.read_to_end(&mut got).err().map(|error| error.kind());
    (got, end)
}

#[test]
fn it_carries_every_byte_and_half_closes() {
    let relay = Relay::start(target::echo());
    caller::echo_whole(relay.address(), 3 << 20).unwrap();
    eventually("the connection is over", SOON, || relay.connections().is_empty().then_some(()));
    assert_eq!(relay.accepted(), 1);
}

#[test]
fn a_connection_ends_at_the_very_byte_by_fin_or_by_reset() {
    let (_relay, mut socket, connection) = echo();
    connection.cut_after(Way::ToAgent, 1_000, End::Fin);
    let bytes = caller::pattern(5_000);
    let (got, end) = sent(&mut socket, &bytes);
    assert_eq!((got.len(), end), (1_000, None));
    assert_eq!(got, bytes[..1_000]);
    assert!(!connection.is_up());

    let (relay, mut socket, connection) = echo();
    let before = connection.bytes(Way::ToGateway);
    connection.cut_after(Way::ToGateway, 7, End::Reset);
    let (_, end) = sent(&mut socket, &bytes);
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    assert_eq!(connection.bytes(Way::ToGateway) - before, 7);
    assert!(relay.connections().is_empty());
}

#[test]
fn a_hole_swallows_one_direction_and_gives_it_back() {
    let (relay, mut socket, connection) = echo();
    let mut passed = connection.bytes(Way::ToGateway);
    for ways in [&[Way::ToGateway][..], &[Way::ToAgent], &Way::BOTH] {
        assert_eq!(Way::BOTH.map(|way| connection.bytes(way)), [passed; 2]);
        connection.black_hole(ways);
        socket.write_all(b"hello").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let error = socket.read(&mut [0; 8]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock), "{error}");
        for way in ways {
            assert_eq!(connection.bytes(*way), passed, "{way:?}");
        }
        connection.heal();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.read_exact(&mut [0; 5]).unwrap();
        passed += 5;
    }
    relay.black_hole(&Way::BOTH);
    let mut late = TcpStream::connect(relay.address()).unwrap();
    late.write_all(b"later").unwrap();
    hold("a new connection is swallowed too", Duration::from_millis(100), || {
        relay
            .connections()
            .iter()
            .all(|connection| connection.number() == 1 || connection.bytes(Way::ToGateway) == 0)
    });
    relay.heal();
    late.set_read_timeout(Some(SOON)).unwrap();
    late.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn only_the_connection_that_is_meant_is_hurt() {
    let (relay, mut first, connection) = echo();
    let (mut second, _) = caller::open_echo(relay.address()).unwrap();
    assert_eq!(relay.connections().iter().map(Connection::number).collect::<Vec<_>>(), [1, 2]);
    connection.black_hole(&Way::BOTH);
    caller::round_trip(&mut second, b"undisturbed").unwrap();
    connection.cut(End::Reset);
    assert_eq!(first.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    caller::round_trip(&mut second, b"undisturbed").unwrap();
    relay.cut(End::Fin);
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
}

#[test]
fn it_refuses_and_takes_again_on_the_same_port() {
    let (relay, mut socket, _) = echo();
    for _ in 0..3 {
        relay.refuse();
        eventually("connections are refused", SOON, || {
            let refused = TcpStream::connect(relay.address()).err()?;
            (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
        });
        caller::round_trip(&mut socket, b"what is up stays").unwrap();
        relay.heal();
        caller::open_echo(relay.address()).unwrap();
    }
}

#[test]
fn without_a_far_end_the_near_one_is_reset() {
    let relay = Relay::start(target::refusing());
    let mut socket = TcpStream::connect(relay.address()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(relay.connections().is_empty());
}

#[test]
fn distance_costs_each_way_and_no_throughput() {
    let (relay, mut socket, _) = echo();
    relay.delay(Duration::from_millis(50));
    let start = Instant::now();
    caller::round_trip(&mut socket, b"far").unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100) && took < SOON, "{took:?}");
    let start = Instant::now();
    let bytes = caller::pattern(1 << 20);
    let mut writer = socket.try_clone().unwrap();
    let sending = thread::spawn({
        let bytes = bytes.clone();
        move || writer.write_all(&bytes).and_then(|()| writer.shutdown(Shutdown::Write))
    });
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(got, bytes);
    assert!(start.elapsed() < SOON, "pieces travel behind each other: {:?}", start.elapsed());
}

#[test]
fn the_cutter_cuts_at_random_bytes() {
    let target = load::Exchange::start(u64::MAX);
    let relay = Relay::start(target.address);
    let cutter = relay.cut_every(Duration::from_millis(20), Cut::All, 3);
    let sizes = load::Sizes { up: 1 << 30, down: 1 << 30 };
    eventually("ten have been cut, some of them midway", SOON, || {
        // Whatever a session says, it must not be that bytes are wrong.
        let seed = relay.accepted() as u64;
        let running = load::Running::start(relay.address(), [load::Bulk { seed, sizes, pace: u64::MAX }]);
        let failures = running.finish(&target);
        assert!(!failures.is_empty() && !failures.concat().contains("belongs"), "{failures:?}");
        (cutter.cuts() >= 10 && cutter.inside() > 0).then_some(())
    });
    assert!(cutter.stop() >= 10);
}
