//! What a peer may not do. Each fault ends the tunnel with an error that says what it was.

use bytes::Bytes;

use super::pair::Pair;
use crate::{
    frame::{CloseReason, Frame, Hello, OpenRequest, OpenResult, ResetReason},
    machine::{Config, Event, ProtocolError},
    session::Violation,
};

fn data(session: u64, offset: u64, len: usize) -> Frame {
    Frame::Data { session, offset, bytes: Bytes::from(vec![0; len]) }
}

fn answer(session: u64) -> Frame {
    Frame::OpenAck { session, result: OpenResult::Ok, window: 1000, detail: String::new() }
}

fn open(session: u64) -> Frame {
    Frame::Open { session, request: OpenRequest::resource("db") }
}

#[track_caller]
fn agent_refuses(pair: &mut Pair, frame: Frame, expected: ProtocolError) {
    pair.inject_to_agent(&frame);
    assert_eq!(pair.agent.fault, Some(expected));
    pair.settle();
    let told = |event: &Event| matches!(event, Event::Closed { reason: CloseReason::ProtocolError, by_peer: true, detail } if !detail.is_empty());
    assert!(pair.gateway.events().iter().any(told), "the peer learns why");
    assert!(pair.agent.tunnel.is_closed());
    assert_eq!(pair.agent.budget.held(), 0);
}

#[test]
fn wrong_offset() {
    let mut pair = Pair::new();
    pair.open(5);
    let source = Violation::Offset { offset: 1, expected: 0 };
    agent_refuses(&mut pair, data(5, 1, 10), ProtocolError::Session { session: 5, source });
}

#[test]
fn more_than_the_window() {
    let config = Config { window_initial: 5000, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    pair.open(5);
    pair.inject_to_agent(&data(5, 0, 5000));
    assert_eq!(pair.agent.fault, None);
    let source = Violation::OverWindow { end: 5001, limit: 5000 };
    agent_refuses(&mut pair, data(5, 5000, 1), ProtocolError::Session { session: 5, source });
}

#[test]
fn data_after_the_end() {
    let mut pair = Pair::new();
    pair.open(5);
    pair.inject_to_agent(&Frame::Fin { session: 5, offset: 0 });
    let source = Violation::AfterFin { fin: 0 };
    agent_refuses(&mut pair, data(5, 0, 1), ProtocolError::Session { session: 5, source });
}

#[test]
fn credit_for_bytes_never_sent() {
    let mut pair = Pair::new();
    pair.open(5);
    let source = Violation::Credit { consumed: 1, acked: 0, sent: 0 };
    let frame = Frame::Credit { session: 5, consumed: 1, window: 0 };
    agent_refuses(&mut pair, frame, ProtocolError::Session { session: 5, source });
}

#[test]
fn a_session_opened_twice() {
    let mut pair = Pair::new();
    pair.open(5);
    agent_refuses(&mut pair, open(5), ProtocolError::SessionReused { session: 5 });
    let mut pair = Pair::new();
    pair.open(5);
    agent_refuses(&mut pair, open(4), ProtocolError::SessionReused { session: 4 });
}

#[test]
fn frames_for_a_session_that_never_was() {
    for frame in [
        data(6, 0, 1),
        Frame::Fin { session: 6, offset: 0 },
        Frame::Credit { session: 6, consumed: 0, window: 1 },
        Frame::Reset { session: 6, reason: ResetReason::Internal, detail: String::new() },
    ] {
        let mut pair = Pair::new();
        pair.open(5);
        let error = ProtocolError::NeverOpened { frame: frame.name(), session: 6 };
        agent_refuses(&mut pair, frame, error);
    }
}

#[test]
fn frames_in_the_wrong_direction() {
    let mut pair = Pair::new();
    agent_refuses(&mut pair, answer(1), ProtocolError::Direction("open_ack"));
    let mut pair = Pair::new();
    pair.inject_to_gateway(&open(1));
    assert_eq!(pair.gateway.fault, Some(ProtocolError::Direction("open")));
}

#[test]
fn answers_that_come_twice_or_too_late() {
    let mut pair = Pair::new();
    pair.open(1);
    pair.inject_to_gateway(&answer(1));
    assert_eq!(pair.gateway.fault, Some(ProtocolError::AnsweredTwice { session: 1 }));
    let mut pair = Pair::new();
    pair.gateway.tunnel.open(1, OpenRequest::resource("db"), pair.now).unwrap();
    pair.inject_to_gateway(&data(1, 0, 1));
    assert_eq!(pair.gateway.fault, Some(ProtocolError::Unanswered { frame: "data", session: 1 }));
}

#[test]
fn no_hello_first_or_two_of_them() {
    let mut pair = Pair::strangers(Config::default(), Config::default());
    pair.inject_to_agent(&Frame::Ping { nonce: 1 });
    assert_eq!(pair.agent.fault, Some(ProtocolError::BeforeHello("ping")));
    let mut pair = Pair::new();
    agent_refuses(&mut pair, Frame::Hello(Hello::new(1, 1, 1)), ProtocolError::SecondHello);
    let mut pair = Pair::strangers(Config::default(), Config::default());
    pair.inject_to_agent(&Frame::Hello(Hello { window: 10, ..Hello::new(1, 1, 1) }));
    assert_eq!(pair.agent.fault, Some(ProtocolError::Hello { field: "window", value: 10, min: 4096 }));
}

#[test]
fn a_flood_of_resets() {
    let config = Config { premature_resets_max: 50, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config.clone());
    for id in 1..=51 {
        assert_eq!(pair.agent.fault, None, "{id}");
        pair.inject_to_agent(&open(id));
        pair.inject_to_agent(&Frame::Reset {
            session: id,
            reason: ResetReason::CallerGone,
            detail: String::new(),
        });
    }
    let within = config.premature_resets_window;
    assert_eq!(pair.agent.fault, Some(ProtocolError::ResetFlood { count: 51, within }));
}

#[test]
fn answers_that_the_peer_does_not_read_are_bounded() {
    let config = Config { pending_opens_max: 1, control_queue_max: 20, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    for id in 1..=30 {
        pair.agent.inject(&open(id), pair.now);
    }
    assert_eq!(pair.agent.fault, Some(ProtocolError::AnswersUnread { count: 21 }));
}

#[test]
fn a_flood_of_pings_gets_a_bounded_answer() {
    let mut pair = Pair::new();
    for nonce in 0..1000 {
        pair.inject_to_agent(&Frame::Ping { nonce });
    }
    assert!(pair.agent.batch(pair.now).len() <= 20);
}
