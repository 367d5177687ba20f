//! Hello, open, answer, end, drain, close.

use std::time::Duration;

use super::pair::Pair;
use crate::{
    frame::{
        CloseReason, Frame, Hello, OpenRequest, OpenResult, ResetReason, ResumePoint, ResumeResult,
        SessionKind,
    },
    machine::{Config, Event, NotSent, Received, Tunnel},
};

#[test]
fn both_ends_become_ready() {
    let mut pair = Pair::strangers(Config::default(), Config::default());
    pair.settle();
    for end in [&mut pair.gateway, &mut pair.agent] {
        assert!(matches!(end.events().as_slice(), [Event::Ready { peer }] if peer.window == 256 << 10));
        assert!(end.tunnel.rtt().is_some(), "the first ping leaves at once");
    }
}

#[test]
fn bytes_may_leave_with_the_open_and_wait_for_the_dial() {
    let mut pair = Pair::new();
    pair.gateway.tunnel.open(7, OpenRequest::resource("db"), pair.now).unwrap();
    assert_eq!(pair.gateway.send(7, &b"hello"[..]), 5);
    let frames = pair.gateway.batch(pair.now);
    assert!(matches!(&frames[..], [Frame::Open { .. }, Frame::Data { .. }]), "one batch: {frames:?}");
    for frame in &frames {
        pair.inject_to_agent(frame);
    }
    let Some(Event::Incoming { session: 7, request }) = pair.agent.events.pop_front() else {
        panic!("no open")
    };
    assert_eq!((request.kind, request.name.as_str()), (SessionKind::Resource, "db"));
    pair.agent.tunnel.accept(7);
    assert_eq!(pair.agent.read(7, pair.now), b"hello");
}

#[test]
fn half_close_each_way_then_nothing_is_left() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.gateway.send(1, &b"question"[..]);
    pair.gateway.tunnel.finish(1);
    pair.settle();
    assert_eq!(pair.agent.read(1, pair.now), b"question");
    assert!(pair.agent.is_finished(1, pair.now));
    assert_eq!(pair.gateway.tunnel.send(1, &mut b"x"[..].into()), Err(NotSent::Finished));

    pair.agent.send(1, vec![3; 100_000]);
    pair.agent.tunnel.finish(1);
    pair.settle();
    assert_eq!(pair.gateway.read(1, pair.now), vec![3; 100_000]);
    assert!(pair.gateway.is_finished(1, pair.now));

    pair.gateway.tunnel.release(1, pair.now);
    pair.agent.tunnel.release(1, pair.now);
    pair.settle();
    for end in [&pair.gateway, &pair.agent] {
        assert_eq!((end.tunnel.sessions(), end.budget.held(), end.budget.grown()), (0, 0, 0));
    }
}

#[test]
fn a_released_session_still_delivers_its_end() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.gateway.tunnel.finish(1);
    pair.settle();
    pair.agent.send(1, vec![9; 120_000]);
    pair.agent.tunnel.finish(1);
    pair.agent.tunnel.release(1, pair.now);
    pair.settle();
    assert_eq!(pair.agent.tunnel.sessions(), 1, "until the gateway has read");
    assert_eq!(pair.gateway.read(1, pair.now).len(), 120_000);
    assert!(pair.gateway.is_finished(1, pair.now));
    pair.settle();
    assert_eq!(pair.agent.tunnel.sessions(), 0);
}

#[test]
fn each_refusal_arrives_as_it_was_said() {
    let mut pair = Pair::new();
    for (id, result) in (1..).zip(OpenResult::ALL.iter().copied().filter(|result| *result != OpenResult::Ok))
    {
        pair.gateway.tunnel.open(id, OpenRequest::resource("db"), pair.now).unwrap();
        pair.settle();
        pair.agent.tunnel.refuse(id, result, "because");
        pair.settle();
        let opened = Event::Opened { session: id, result, detail: "because".into() };
        assert_eq!(pair.gateway.events(), [opened]);
        assert_eq!(pair.gateway.tunnel.recv(id, 10, pair.now), Received::Gone);
    }
    assert_eq!((pair.gateway.tunnel.sessions(), pair.agent.tunnel.sessions()), (0, 0));
}

#[test]
fn an_open_that_nobody_answers_times_out() {
    let mut pair = Pair::new();
    pair.gateway.tunnel.open(1, OpenRequest::resource("db"), pair.now).unwrap();
    pair.pass(Duration::from_millis(6900));
    assert_eq!(pair.gateway.events(), []);
    pair.pass(Duration::from_millis(200));
    let events = pair.gateway.events();
    assert!(matches!(&events[..], [Event::Opened { result: OpenResult::Timeout, .. }]), "{events:?}");
    let events = pair.agent.events();
    assert!(
        matches!(&events[..], [Event::Incoming { .. }, Event::Reset { by_peer: true, .. }]),
        "{events:?}"
    );
    pair.agent.tunnel.accept(1);
    pair.settle();
    assert!(pair.gateway.tunnel.is_ready(), "a late answer is no fault");
}

#[test]
fn reset_ends_both_sides_and_late_frames_are_no_fault() {
    let mut pair = Pair::new();
    pair.latency = Duration::from_millis(10);
    pair.gateway.tunnel.open(1, OpenRequest::resource("db"), pair.now).unwrap();
    pair.pass(Duration::from_millis(15));
    pair.agent.tunnel.accept(1);
    pair.pass(Duration::from_millis(15));
    pair.agent.send(1, &b"crossing"[..]);
    pair.gateway.tunnel.reset(1, ResetReason::CallerGone, "gone");
    pair.pass(Duration::from_millis(30));
    let reset = |by_peer| Event::Reset {
        session: 1,
        reason: ResetReason::CallerGone,
        detail: "gone".into(),
        by_peer,
    };
    assert!(pair.agent.events().contains(&reset(true)));
    assert!(pair.gateway.events().contains(&reset(false)));
    assert_eq!(pair.agent.tunnel.send(1, &mut b"x"[..].into()), Err(NotSent::Gone));
    assert!(pair.gateway.tunnel.is_ready() && pair.agent.tunnel.is_ready());
    assert_eq!(pair.agent.budget.held(), 0);
}

#[test]
fn drain_lets_sessions_end_and_refuses_new_ones() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.agent.tunnel.drain(Duration::from_secs(5), "upgrade", pair.now);
    // Crosses the drain on the wire.
    pair.gateway.tunnel.open(2, OpenRequest::resource("db"), pair.now).unwrap();
    pair.settle();
    let events = pair.gateway.events();
    let said = Event::PeerDraining { deadline: Duration::from_secs(5), detail: "upgrade".into() };
    assert!(events.contains(&said), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Opened { result: OpenResult::Draining, .. })));
    let refusal = pair.gateway.tunnel.open(3, OpenRequest::resource("db"), pair.now).unwrap_err();
    assert_eq!(refusal.result, OpenResult::Draining);
    pair.gateway.tunnel.open(4, OpenRequest::control(), pair.now).unwrap();
    pair.settle();
    assert!(
        matches!(pair.agent.events().last(), Some(Event::Incoming { session: 4, .. })),
        "control still opens"
    );

    for end in [&mut pair.gateway, &mut pair.agent] {
        end.send(1, &b"last words"[..]);
        end.tunnel.finish(1);
    }
    pair.settle();
    let now = pair.now;
    for end in [&mut pair.gateway, &mut pair.agent] {
        assert_eq!(end.read(1, now), b"last words");
        assert!(end.is_finished(1, now));
        end.tunnel.release(1, now);
    }
    pair.settle();
    assert!(pair.agent.events().contains(&Event::Drained { cut: 0 }));
}

#[test]
fn drain_cuts_what_is_open_at_its_deadline() {
    let mut pair = Pair::new();
    (1..=3).for_each(|id| pair.open(id));
    pair.agent.tunnel.drain(Duration::from_secs(1), "", pair.now);
    pair.pass(Duration::from_millis(1100));
    let events = pair.agent.events();
    assert_eq!(events.last(), Some(&Event::Drained { cut: 3 }), "{events:?}");
    assert_eq!(pair.agent.tunnel.sessions(), 0);
    let cut =
        |event: &&Event| matches!(event, Event::Reset { reason: ResetReason::Draining, by_peer: true, .. });
    assert_eq!(pair.gateway.events().iter().filter(cut).count(), 3);
}

#[test]
fn close_reaches_the_peer_and_ends_every_session() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.open(2);
    pair.agent.send(2, &b"all of it"[..]);
    pair.agent.tunnel.finish(2);
    pair.settle();
    pair.agent.tunnel.close(CloseReason::Shutdown, "bye");
    pair.settle();
    assert!(pair.agent.tunnel.is_closed() && pair.gateway.tunnel.is_closed());
    let closed = Event::Closed { reason: CloseReason::Shutdown, detail: "bye".into(), by_peer: true };
    let events = pair.gateway.events();
    assert_eq!(events.last(), Some(&closed));
    let lost = |event: &&Event| {
        matches!(event, Event::Reset { reason: ResetReason::TunnelLost, by_peer: false, .. })
    };
    assert_eq!(events.iter().filter(lost).count(), 2);
    assert_eq!(pair.gateway.tunnel.recv(1, 10, pair.now), Received::Gone);
    assert_eq!(pair.gateway.read(2, pair.now), b"all of it", "what had come whole can be read");
    assert!(pair.gateway.is_finished(2, pair.now));
    pair.gateway.tunnel.release(2, pair.now);
    assert_eq!((pair.gateway.budget.held(), pair.agent.budget.held()), (0, 0));
}

#[test]
fn what_ended_before_a_close_is_told_before_it() {
    let mut pair = Pair::new();
    (1..=2).for_each(|id| pair.open(id));
    let now = pair.now;
    pair.gateway.tunnel.reset(1, ResetReason::Draining, "drained");
    pair.gateway.tunnel.open(3, OpenRequest::resource("db"), now).unwrap();
    pair.gateway.tunnel.reset(3, ResetReason::CallerGone, "the agent never heard of it");
    pair.gateway.tunnel.close(CloseReason::Shutdown, "bye");
    pair.settle();
    assert_eq!(pair.agent.fault, None);
    let resets: Vec<_> = pair
        .agent
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Reset { session, reason, .. } => Some((session, reason)),
            _ => None,
        })
        .collect();
    assert_eq!(resets, [(1, ResetReason::Draining), (2, ResetReason::TunnelLost)]);
}

#[test]
fn a_refusal_is_told_before_a_close_and_few_of_many_endings_are() {
    let mut pair = Pair::new();
    let now = pair.now;
    for id in 1..=3 {
        pair.gateway.tunnel.open(id, OpenRequest::resource("db"), now).unwrap();
    }
    pair.settle();
    pair.agent.tunnel.refuse(1, OpenResult::Refused, "nobody listens");
    pair.agent.tunnel.accept(2);
    pair.agent.tunnel.close(CloseReason::Shutdown, "bye");
    let frames = pair.agent.batch(now);
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.name(), frame.session())).collect();
    // An ok that the close takes back at once would keep the caller from being tried elsewhere.
    assert_eq!(kinds, [("open_ack", 1), ("close", 0)]);

    let mut pair = Pair::new();
    (1..=1500).for_each(|id| pair.open(id));
    for id in 1..=1500 {
        pair.gateway.tunnel.reset(id, ResetReason::Draining, "");
    }
    pair.gateway.tunnel.close(CloseReason::Shutdown, "bye");
    pair.settle();
    assert_eq!((pair.agent.fault.is_none(), pair.agent.tunnel.is_closed()), (true, true));
    let told = |event: &&Event| matches!(event, Event::Reset { reason: ResetReason::Draining, .. });
    assert_eq!(pair.agent.events().iter().filter(told).count(), 1024);
}

#[test]
fn versions_must_overlap() {
    let mut pair = Pair::strangers(Config::default(), Config::default());
    let hello = Hello { version_min: 2, version_max: 3, ..Hello::new(1, 1, 0) };
    pair.inject_to_agent(&Frame::Hello(hello));
    assert!(matches!(
        pair.agent.events().as_slice(),
        [Event::Closed { reason: CloseReason::VersionMismatch, by_peer: false, .. }]
    ));
    let frames = pair.agent.batch(pair.now);
    assert!(
        matches!(
            &frames[..],
            [Frame::Hello(_), Frame::Close { reason: CloseReason::VersionMismatch, detail }] if detail.contains("2 to 3")
        ),
        "{frames:?}"
    );
}

#[test]
fn a_resume_is_answered_with_unknown() {
    let mut pair = Pair::new();
    pair.inject_to_agent(&Frame::Resume { session: 99, point: ResumePoint::default() });
    let frames = pair.agent.batch(pair.now);
    assert!(
        matches!(&frames[..], [Frame::ResumeAck { session: 99, result: ResumeResult::Unknown, .. }]),
        "{frames:?}"
    );
}

#[test]
fn limits_of_sessions_and_opens_answer_busy() {
    let config = || Config { sessions_max: 3, pending_opens_max: 2, ..Config::default() };
    let mut pair = Pair::with(config(), config());
    let open = |tunnel: &mut Tunnel, id, now| tunnel.open(id, OpenRequest::resource("db"), now);
    pair.open(1);
    let now = pair.now;
    open(&mut pair.gateway.tunnel, 2, now).unwrap();
    open(&mut pair.gateway.tunnel, 3, now).unwrap();
    assert_eq!(open(&mut pair.gateway.tunnel, 4, now).unwrap_err().result, OpenResult::Busy);
    // A gateway with no limits of its own meets the agent's.
    let mut pair = Pair::with(Config::default(), config());
    for id in 1..=3 {
        open(&mut pair.gateway.tunnel, id, now).unwrap();
    }
    pair.settle();
    assert!(
        matches!(&pair.gateway.events()[..], [Event::Opened { session: 3, result: OpenResult::Busy, .. }]),
        "pending opens"
    );
    pair.agent.tunnel.accept(1);
    pair.agent.tunnel.accept(2);
    pair.gateway.tunnel.open(4, OpenRequest::resource("db"), now).unwrap();
    pair.gateway.tunnel.open(5, OpenRequest::resource("db"), now).unwrap();
    pair.settle();
    assert!(matches!(
        pair.gateway.events().last(),
        Some(Event::Opened { session: 5, result: OpenResult::Busy, .. })
    ));
}
