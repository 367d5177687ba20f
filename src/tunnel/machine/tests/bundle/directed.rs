//! Single losses, each where it hurts most.

use std::time::Duration;

use super::{
    life::pattern,
    net::{AGENT, GATEWAY, Net, SIDES},
    script::{ANSWER, QUESTION, plain},
};
use crate::{
    frame::{CloseReason, OpenResult, ResetReason},
    machine::{Config, Event, Liveness, Received},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A session of which both ends have said and read all, with nothing of the last words delivered.
fn last_words_lost(net: &mut Net, line: usize) {
    net.open_whole(line, 1);
    assert_eq!(net.send(GATEWAY, 1, 0, QUESTION), QUESTION);
    net.settle();
    assert_eq!(net.read(AGENT, 1), pattern(1, GATEWAY, 0, QUESTION));
    net.pass(S);
}

#[test]
fn both_fins_are_lost_and_said_again() {
    for first in SIDES {
        let mut net = plain();
        let line = net.connect(0);
        last_words_lost(&mut net, line);
        SIDES.into_iter().for_each(|writer| net.lines[line].pipes[writer].stall());
        for side in [first, 1 - first] {
            net.finish(side, 1);
            net.settle();
        }
        net.cut(line);
        assert_eq!(SIDES.map(|side| net.hosts[side].bundle.parked()), [1, 1]);
        net.connect(1);
        for side in SIDES {
            assert_eq!(net.recv(side, 1), Received::Finished);
            assert_eq!(net.resets(side), []);
            net.release(side, 1);
        }
        net.settle();
        net.assert_nothing_left();
    }
}

#[test]
fn a_fin_is_lost_after_its_writer_let_go() {
    for last in SIDES {
        let mut net = plain();
        let line = net.connect(0);
        last_words_lost(&mut net, line);
        net.finish(1 - last, 1);
        net.settle();
        assert_eq!(net.recv(last, 1), Received::Finished);
        net.lines[line].pipes[last].stall();
        net.finish(last, 1);
        net.release(last, 1);
        net.settle();
        net.cut(line);
        net.connect(1);
        assert_eq!(net.recv(1 - last, 1), Received::Finished, "the end of {last} comes, and no reset");
        assert_eq!(net.resets(1 - last), []);
        net.release(1 - last, 1);
        net.settle();
        net.assert_nothing_left();
    }
}

#[test]
fn the_last_credit_is_lost() {
    // Whoever misses it still holds the session, and the other end knows nothing of it but that it is over.
    for misses in SIDES {
        for lets_go in [true, false] {
            let mut net = plain();
            let line = net.connect(0);
            net.open_whole(line, 1);
            for side in SIDES {
                net.send(side, 1, 0, ANSWER);
                net.finish(side, 1);
            }
            net.settle();
            assert_eq!(net.read(misses, 1).len(), ANSWER);
            if lets_go {
                net.release(misses, 1);
            }
            net.pass(S);
            net.lines[line].pipes[1 - misses].stall();
            assert_eq!(net.read(1 - misses, 1).len(), ANSWER);
            net.release(1 - misses, 1);
            net.settle();
            let count = |side: usize| net.left(side).get("sessions").copied().unwrap_or(0);
            assert_eq!((count(misses), count(1 - misses)), (1, 0));
            net.cut(line);
            net.connect(1);
            assert_eq!(net.resets(misses), []);
            if !lets_go {
                net.close(misses, 1, CloseReason::Shutdown);
                net.settle();
                assert_eq!(net.resets(misses), []);
                assert_eq!(net.recv(misses, 1), Received::Finished, "the end can still be read");
                net.release(misses, 1);
            }
            net.assert_nothing_left();
        }
    }
}

#[test]
fn the_answer_to_an_open_is_lost() {
    for yes in [true, false] {
        let mut net = plain();
        let line = net.connect(0);
        net.open(line, 1);
        net.send(GATEWAY, 1, 0, QUESTION);
        net.settle();
        net.lines[line].pipes[AGENT].stall();
        if yes {
            net.hosts[AGENT].bundle.accept(1);
        } else {
            net.hosts[AGENT].bundle.refuse(1, OpenResult::Refused, "nobody listens");
        }
        net.settle();
        net.cut(line);
        net.take_told(GATEWAY);
        net.connect(1);
        let events = net.take_told(GATEWAY);
        if yes {
            assert!(events.iter().any(|event| matches!(event, Event::Opened { result: OpenResult::Ok, .. })));
            assert_eq!(net.read(AGENT, 1).len(), QUESTION);
        } else {
            let unknown = |event: &Event| matches!(event, Event::Reset { reason: ResetReason::Unknown, .. });
            assert!(events.iter().any(unknown), "{events:?}");
            assert!(!events.iter().any(|event| matches!(event, Event::Opened { .. })), "{events:?}");
        }
        net.release(GATEWAY, 1);
        net.settle();
        net.release(AGENT, 1);
        net.settle();
        net.assert_nothing_left();
    }
}

#[test]
fn an_open_with_nothing_said_is_given_up_unless_another_tunnel_is_there() {
    for spare in [false, true] {
        let mut net = plain();
        let line = net.connect(0);
        if spare {
            net.connect(1);
        }
        net.open(line, 1);
        net.settle();
        net.told.clear();
        net.cut(line);
        let lost: &[ResetReason] = if spare { &[] } else { &[ResetReason::TunnelLost] };
        assert_eq!(net.resets(GATEWAY), lost);
        if !spare {
            net.connect(1);
            assert_eq!(net.resets(AGENT), [ResetReason::Unknown]);
        }
        net.hosts[AGENT].bundle.accept(1);
        net.settle();
        let opened = net.take_told(GATEWAY).iter().any(|event| matches!(event, Event::Opened { .. }));
        assert_eq!(opened, spare);
    }
}

#[test]
fn a_suspect_tunnel_gives_its_sessions_away() {
    let mut net = plain();
    let (silent, other) = (net.connect(0), net.connect(1));
    net.open_whole(silent, 1);
    net.pass(10 * S);
    net.told.clear();
    SIDES.into_iter().for_each(|writer| net.lines[silent].pipes[writer].stall());
    // The last words came less than one ping ago.
    let since = net.now;
    net.send(GATEWAY, 1, 0, QUESTION);
    let mut read = Vec::new();
    while read.len() < QUESTION {
        assert!(net.now < since + 4 * S + 100 * MS, "not carried on");
        net.pass(10 * MS);
        read.extend(net.read(AGENT, 1));
    }
    assert!(net.now > since + S, "not before the tunnel was suspect");
    for side in SIDES {
        assert_eq!(net.hosts[side].bundle.home(1), net.key(side, other));
        assert_eq!(net.resets(side), []);
    }
}

#[test]
fn a_suspect_tunnel_keeps_its_sessions_while_it_is_the_only_one() {
    let mut net = plain();
    let line = net.connect(0);
    net.open_whole(line, 1);
    SIDES.into_iter().for_each(|writer| net.lines[line].pipes[writer].stall());
    net.pass(6 * S);
    let key = net.key(GATEWAY, line).unwrap();
    assert_eq!(net.hosts[GATEWAY].bundle.tunnel(key).unwrap().liveness(), Liveness::Suspect);
    SIDES.into_iter().for_each(|writer| net.lines[line].pipes[writer].flow(net.now));
    net.send(GATEWAY, 1, 0, QUESTION);
    net.settle();
    assert_eq!(net.read(AGENT, 1).len(), QUESTION);
}

#[test]
fn nothing_waits_beside_a_tunnel() {
    // Two tunnels fall silent together: one is given up for the other, which carries on when it is heard again.
    let mut net = plain();
    let lines = [net.connect(0), net.connect(1)];
    net.open_whole(lines[0], 1);
    for line in lines {
        SIDES.into_iter().for_each(|writer| net.lines[line].pipes[writer].stall());
    }
    net.pass(5 * S);
    for side in SIDES {
        assert_eq!(net.hosts[side].bundle.tunnels().filter(|(_, tunnel)| tunnel.is_ready()).count(), 1);
        assert_eq!(net.hosts[side].bundle.parked(), usize::from(side == AGENT));
    }
    for line in lines {
        SIDES.into_iter().for_each(|writer| net.lines[line].pipes[writer].flow(net.now));
    }
    net.send(GATEWAY, 1, 0, QUESTION);
    net.pass(S);
    assert_eq!(net.read(AGENT, 1).len(), QUESTION);
}

#[test]
fn what_is_said_of_a_tunnel_is_said_again_when_it_was_lost() {
    let mut net = plain();
    let first = net.connect(0);
    net.open_whole(first, 1);
    net.open_whole(first, 2);
    // The agent does not notice for some seconds.
    net.break_line(first, [Some(Duration::ZERO), None]);
    net.settle();
    let second = net.connect_but_unheard(1);
    net.hosts[GATEWAY].bundle.reset(2, ResetReason::CallerGone, "gone");
    net.cut(second);
    net.told.clear();
    net.connect(2);
    assert_eq!(net.resets(AGENT), [ResetReason::Unknown], "session 2, at once");
    net.send(GATEWAY, 1, 0, QUESTION);
    net.settle();
    assert_eq!(net.read(AGENT, 1).len(), QUESTION);
}

#[test]
fn a_tunnel_given_up_before_it_joined_ends_at_once() {
    let mut net = plain();
    net.connect(0);
    let late = net.dial(1, [Duration::ZERO; 2], [Duration::ZERO, S]);
    net.settle();
    net.open(late, 1);
    net.settle();
    net.act(GATEWAY, late, |tunnel| tunnel.lost("reset"));
    net.settle();
    let told = net.take_told(GATEWAY);
    let unheard = |event: &Event| matches!(event, Event::Opened { result: OpenResult::Internal, .. });
    assert!(told.iter().any(unheard), "the agent never heard of it, another may be asked: {told:?}");
    assert!(!told.iter().any(|event| matches!(event, Event::Reset { .. })), "{told:?}");
    net.pass(2 * S);
    let offered = net.take_told(AGENT).iter().any(|event| matches!(event, Event::Incoming { .. }));
    assert!(!offered && net.key(AGENT, late).is_none());
}

#[test]
fn a_session_reset_while_it_waits_ends_at_the_other_end() {
    for side in SIDES {
        let mut net = plain();
        let line = net.connect(0);
        net.open_whole(line, 1);
        net.open_whole(line, 2);
        net.cut(line);
        net.hosts[side].bundle.reset(1, ResetReason::Internal, "unwanted");
        net.release(side, 1);
        net.connect(1);
        assert_eq!(net.resets(1 - side), [ResetReason::Unknown]);
        net.send(GATEWAY, 2, 0, QUESTION);
        net.settle();
        assert_eq!(net.read(AGENT, 2).len(), QUESTION, "the other one goes on");
        net.release(1 - side, 1);
        SIDES.into_iter().for_each(|side| net.release(side, 2));
        net.settle();
        net.assert_nothing_left();
    }
}

#[test]
fn a_window_that_was_read_empty_while_waiting_opens_again() {
    let config = || Config { window_initial: 5000, ..Config::default() };
    for writer in SIDES {
        let mut net = Net::plain(config(), config());
        let line = net.connect(0);
        net.open_whole(line, 1);
        assert_eq!(net.send(writer, 1, 0, 20_000), 20_000);
        net.settle();
        net.cut(line);
        assert_eq!(net.read(1 - writer, 1).len(), 5000);
        net.connect(1);
        let mut read = 5000;
        while read < 20_000 {
            let bytes = net.read(1 - writer, 1);
            assert!(!bytes.is_empty(), "stands at {read}");
            read += bytes.len();
            net.pass(200 * MS);
        }
    }
}

#[test]
fn without_resume_sessions_end_with_their_tunnel() {
    let config = || Config { resume_within: Duration::ZERO, ..Config::default() };
    let mut net = Net::plain(config(), config());
    let (line, _) = (net.connect(0), net.connect(1));
    net.open_whole(line, 1);
    net.cut(line);
    for side in SIDES {
        assert_eq!(net.resets(side), [ResetReason::TunnelLost]);
        assert_eq!(net.recv(side, 1), Received::Gone);
        net.release(side, 1);
    }
    net.assert_nothing_left();
}

#[test]
fn sessions_expire_when_no_tunnel_comes() {
    let mut net = plain();
    let line = net.connect(0);
    net.open_whole(line, 1);
    net.cut(line);
    net.pass(29 * S);
    assert_eq!(net.resets(GATEWAY), []);
    net.pass(2 * S);
    assert_eq!((net.resets(GATEWAY), net.resets(AGENT)), (vec![ResetReason::TunnelLost], vec![]));
    net.pass(5 * S);
    assert_eq!(net.resets(AGENT), [ResetReason::TunnelLost], "a moment later, so that the gateway decides");
    SIDES.into_iter().for_each(|side| net.release(side, 1));
    net.assert_nothing_left();
}

#[test]
fn a_tunnel_is_not_forgotten_before_its_driver_goes() {
    let mut net = plain();
    let line = net.connect(0);
    net.open_whole(line, 1);
    let key = net.key(GATEWAY, line).unwrap();
    net.close(GATEWAY, line, CloseReason::Shutdown);
    net.release(GATEWAY, 1);
    assert!(net.hosts[GATEWAY].bundle.tunnel(key).is_some(), "its close has not left");
    net.settle();
    let told = net.take_told(AGENT);
    let closed =
        |event: &Event| matches!(event, Event::Closed { reason: CloseReason::Shutdown, by_peer: true, .. });
    assert!(told.iter().any(closed), "{told:?}");
    assert!(net.hosts[GATEWAY].bundle.tunnel(key).is_none());
}

#[test]
fn a_late_word_on_a_tunnel_that_was_given_up_moves_nothing() {
    // The session goes from the first tunnel to the second, whose words are held up, and on to the third. There they are
    // heard after each byte of what the third says.
    for heard in 0..400 {
        let mut net = plain();
        let [first, second, third] = [0, 1, 2].map(|slot| net.connect(slot));
        net.open_whole(first, 1);
        net.lines[second].pipes[GATEWAY].stall();
        net.act(GATEWAY, first, |tunnel| tunnel.lost("reset"));
        assert_eq!(net.hosts[GATEWAY].bundle.home(1), net.key(GATEWAY, second));
        net.exchange();
        net.lines[third].pipes[GATEWAY].stall_after(heard);
        net.act(GATEWAY, second, |tunnel| tunnel.lost("reset"));
        assert_eq!(net.hosts[GATEWAY].bundle.home(1), net.key(GATEWAY, third));
        net.settle();
        net.lines[second].pipes[GATEWAY].flow(net.now);
        net.settle();
        net.lines[third].pipes[GATEWAY].flow(net.now);
        net.settle();
        net.send(GATEWAY, 1, 0, QUESTION);
        net.send(AGENT, 1, 0, ANSWER);
        net.settle();
        assert_eq!(
            (net.read(AGENT, 1).len(), net.read(GATEWAY, 1).len()),
            (QUESTION, ANSWER),
            "after {heard}"
        );
        assert_eq!(net.hosts[AGENT].bundle.home(1), net.key(AGENT, third), "after {heard}");
    }
}

#[test]
fn what_the_agent_ended_for_good_does_not_go_on() {
    let mut net = plain();
    let line = net.connect(0);
    net.open_whole(line, 1);
    net.send(GATEWAY, 1, 0, QUESTION);
    net.finish(GATEWAY, 1);
    net.settle();
    net.lines[line].pipes[AGENT].stall();
    net.close(AGENT, line, CloseReason::Shutdown);
    net.settle();
    assert_eq!(net.resets(AGENT), [ResetReason::TunnelLost]);
    net.cut(line);
    net.told.clear();
    net.connect(1);
    assert_eq!(net.resets(GATEWAY), [ResetReason::Unknown]);
    assert_eq!(net.read(AGENT, 1).len(), QUESTION, "what had come whole can be read");
    assert_eq!(net.recv(AGENT, 1), Received::Finished);
    SIDES.into_iter().for_each(|side| net.release(side, 1));
    net.assert_nothing_left();
}

#[test]
fn an_open_that_waits_for_its_answer_ends_with_its_tunnel() {
    // All that the caller says has come, but nobody has agreed to hear it.
    for parked in [false, true] {
        let mut net = plain();
        let line = net.connect(0);
        net.open(line, 1);
        net.send(GATEWAY, 1, 0, QUESTION);
        net.finish(GATEWAY, 1);
        net.settle();
        if parked {
            net.cut(line);
            net.pass(40 * S);
        } else {
            net.close(AGENT, line, CloseReason::Shutdown);
            net.settle();
        }
        assert_eq!(net.resets(AGENT), [ResetReason::TunnelLost]);
        assert_eq!(net.recv(AGENT, 1), Received::Gone);
        net.hosts[AGENT].bundle.refuse(1, OpenResult::Refused, "too late");
        net.release(GATEWAY, 1);
        net.assert_nothing_left();
    }
}
