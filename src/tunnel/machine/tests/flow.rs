//! Credit, fairness, memory.

use std::time::Duration;

use super::pair::{Pair, by_session};
use crate::{
    frame::{Frame, OpenRequest, OpenResult},
    machine::{Config, Event},
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn nobody_sends_past_the_credit() {
    let config = Config { window_initial: 10_000, send_queue_max: 50_000, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    pair.open(1);
    let mut sent = pair.gateway.send(1, vec![1; 50_000]);
    pair.settle();
    assert_eq!(pair.agent.budget.held(), 10_000, "the window and not a byte more");
    let mut read = pair.agent.read(1, pair.now).len();
    while read < 200_000 {
        sent += pair.gateway.send(1, vec![1; 200_000 - sent]);
        pair.settle();
        assert!(pair.agent.budget.held() <= 10_000);
        read += pair.agent.read(1, pair.now).len();
        pair.settle();
    }
    assert!(pair.agent.fault.is_none());
}

#[test]
fn a_slow_reader_stalls_only_itself() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.open(2);
    let mut moved = 0;
    for _ in 0..200 {
        pair.agent.send(1, vec![1; 128 << 10]);
        pair.agent.send(2, vec![2; 128 << 10]);
        pair.settle();
        moved += pair.gateway.read(2, pair.now).len();
    }
    assert!(moved > 20 << 20, "{moved}");
    assert!(pair.gateway.budget.held() <= 256 << 10, "the stalled session holds its window at most");
}

#[test]
fn a_writer_that_waits_is_called_when_there_is_room() {
    let mut pair = Pair::new();
    pair.open(1);
    let mut total = 0;
    loop {
        let count = pair.gateway.send(1, vec![0; 100_000]);
        total += count;
        if count == 0 {
            break;
        }
        pair.settle();
    }
    assert_eq!(total, (256 << 10) + (256 << 10), "window and queue");
    assert_eq!(pair.gateway.events(), []);
    pair.agent.read(1, pair.now);
    pair.settle();
    assert_eq!(pair.gateway.events(), [Event::Writable { session: 1 }]);
    assert!(pair.gateway.send(1, vec![0; 100_000]) > 0);
}

#[test]
fn a_keystroke_goes_before_the_bulk() {
    let mut pair = Pair::new();
    (1..=5).for_each(|id| pair.open(id));
    (1..=4).for_each(|id| assert!(pair.gateway.send(id, vec![0; 128 << 10]) > 0));
    pair.gateway.batch(pair.now);
    pair.gateway.send(5, &b"k"[..]);
    let frames = pair.gateway.batch(pair.now);
    assert!(matches!(&frames[0], Frame::Data { session: 5, .. }), "{:?}", by_session(&frames));
}

#[test]
fn control_goes_before_all_data() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.gateway.send(1, vec![0; 128 << 10]);
    pair.gateway.tunnel.open(2, OpenRequest::resource("db"), pair.now).unwrap();
    pair.inject_to_gateway(&Frame::Ping { nonce: 9 });
    let frames = pair.gateway.batch(pair.now);
    assert!(
        matches!(
            &frames[..3],
            [Frame::Pong { nonce: 9 }, Frame::Open { session: 2, .. }, Frame::Data { .. }]
        ),
        "{frames:?}"
    );
}

#[test]
fn bulk_sessions_share_each_batch_evenly() {
    let mut pair = Pair::new();
    (1..=4).for_each(|id| pair.open(id));
    (1..=4).for_each(|id| assert_eq!(pair.gateway.send(id, vec![0; 128 << 10]), 128 << 10));
    let frames = pair.gateway.batch(pair.now);
    let shares = by_session(&frames);
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [32 << 10; 4], "two quanta each");
}

#[test]
fn alone_a_session_sends_large_frames_but_two_at_most() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.gateway.send(1, vec![0; 128 << 10]);
    let frames = pair.gateway.batch(pair.now);
    assert_eq!(frames.len(), 2);
    assert_eq!(by_session(&frames)[&1], 128 << 10);
}

#[test]
fn many_sparse_sessions_do_not_starve_the_bulk() {
    let mut pair = Pair::new();
    (1..=201).for_each(|id| pair.open(id));
    pair.gateway.send(201, vec![0; 128 << 10]);
    (1..=200).for_each(|id| assert_eq!(pair.gateway.send(id, vec![0; 2000]), 2000));
    let shares = by_session(&pair.gateway.batch(pair.now));
    assert!(shares[&201] >= 32 << 10, "{shares:?}");
}

#[test]
fn the_peers_frame_limit_is_kept() {
    let config = Config { max_frame: 4096, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    pair.open(1);
    pair.gateway.send(1, vec![0; 20_000]);
    for frame in pair.gateway.batch(pair.now) {
        assert!(matches!(frame, Frame::Data { bytes, .. } if bytes.len() <= 4096));
    }
}

#[test]
fn retained_bytes_are_given_back_soon_though_little_was_read() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.gateway.send(1, vec![0; 1000]);
    pair.settle();
    pair.agent.read(1, pair.now);
    pair.settle();
    assert_eq!(pair.gateway.budget.held(), 1000, "a quarter of the window was not read");
    pair.pass(110 * MS);
    assert_eq!((pair.gateway.budget.held(), pair.agent.budget.held()), (0, 0));
}

#[test]
fn windows_grow_with_the_distance() {
    let config = || Config { window_max: 4 << 20, ..Config::default() };
    let mut pair = Pair::with(config(), config());
    pair.latency = 25 * MS;
    // The first ping was at no distance; it is forgotten.
    pair.pass(70_000 * MS);
    assert!(pair.gateway.tunnel.rtt().unwrap() > 45 * MS);
    pair.gateway.tunnel.open(1, OpenRequest::resource("db"), pair.now).unwrap();
    pair.pass(30 * MS);
    pair.agent.tunnel.accept(1);
    let mut largest = 0;
    for _ in 0..400 {
        while pair.agent.send(1, vec![0; 128 << 10]) > 0 {
            pair.settle();
        }
        pair.pass(5 * MS);
        largest = largest.max(pair.gateway.read(1, pair.now).len());
    }
    let grown = pair.gateway.budget.grown();
    assert_eq!(grown, (4 << 20) - (256 << 10), "up to the cap");
}

#[test]
fn a_spent_budget_answers_busy_and_recovers() {
    let config = Config { budget: 300_000, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    pair.open(1);
    pair.open(2);
    for id in [1, 2] {
        pair.gateway.send(id, vec![0; 128 << 10]);
        pair.settle();
        pair.gateway.send(id, vec![0; 128 << 10]);
        pair.settle();
    }
    pair.gateway.tunnel.open(3, OpenRequest::resource("db"), pair.now).unwrap();
    pair.settle();
    let events = pair.gateway.events();
    assert!(matches!(events.last(), Some(Event::Opened { result: OpenResult::Busy, .. })), "{events:?}");
    pair.agent.read(1, pair.now);
    pair.gateway.tunnel.open(4, OpenRequest::resource("db"), pair.now).unwrap();
    pair.settle();
    assert!(matches!(pair.agent.events().last(), Some(Event::Incoming { session: 4, .. })));
}
