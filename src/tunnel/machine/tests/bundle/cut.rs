//! A short exchange, and a first tunnel that breaks at every byte of it.

use std::time::Duration;

use super::{
    life::pattern,
    net::{AGENT, GATEWAY, Net, SIDES, Told},
    script::{ANSWER, QUESTION, plain},
};
use crate::{
    frame::OpenResult,
    machine::{Event, Received},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A caller asks with the open and ends its direction, the agent's target answers and ends its own, and both let go.
#[derive(Default)]
struct Exchange {
    heard: [Vec<u8>; 2],
    ended: [bool; 2],
    answered: bool,
    let_go: [bool; 2],
}

impl Exchange {
    fn start(net: &mut Net, line: usize) -> Self {
        net.open(line, 1);
        assert_eq!(net.send(GATEWAY, 1, 0, QUESTION), QUESTION);
        net.finish(GATEWAY, 1);
        Self::default()
    }

    /// What the applications do now; true when something was done.
    fn go_on(&mut self, net: &mut Net) -> bool {
        let mut done = false;
        while let Some(Told { side, event, .. }) = net.told.pop_front() {
            match event {
                Event::Incoming { .. } => {
                    assert!(!std::mem::replace(&mut self.answered, true), "offered twice");
                    net.hosts[AGENT].bundle.accept(1);
                    assert_eq!(net.send(AGENT, 1, 0, ANSWER), ANSWER);
                    net.finish(AGENT, 1);
                    done = true;
                }
                Event::Reset { reason, detail, .. } => panic!("side {side} is reset: {reason}: {detail}"),
                Event::Opened { result, .. } => assert_eq!(result, OpenResult::Ok),
                _ => {}
            }
        }
        for side in SIDES {
            if self.let_go[side] || (side == AGENT && !self.answered) {
                continue;
            }
            let before = self.heard[side].len();
            self.heard[side].extend(net.read(side, 1));
            done |= self.heard[side].len() > before;
            self.ended[side] = net.recv(side, 1) == Received::Finished;
            if self.ended[side] {
                net.release(side, 1);
                (self.let_go[side], done) = (true, true);
            }
        }
        done
    }

    fn run(&mut self, net: &mut Net) {
        net.settle();
        while self.go_on(net) {
            net.settle();
        }
    }

    fn assert_whole(&self, net: &Net) {
        assert_eq!(self.heard, [pattern(1, AGENT, 0, ANSWER), pattern(1, GATEWAY, 0, QUESTION)]);
        assert_eq!(self.ended, [true; 2]);
        net.assert_nothing_left();
    }
}

/// How many bytes each pipe carries until nothing is left to say.
fn lengths() -> [u64; 2] {
    let mut net = plain();
    let line = net.connect(0);
    let mut exchange = Exchange::start(&mut net, line);
    exchange.run(&mut net);
    exchange.assert_whole(&net);
    [0, 1].map(|writer| net.lines[line].pipes[writer].arrived())
}

/// Carries an exchange over a first tunnel that lets only so many bytes through in each direction. `Some`: the agent heard
/// of the open before the tunnel broke.
fn exchange_cut(limits: [u64; 2], told_after: [Duration; 2]) -> Option<()> {
    let mut net = plain();
    let line = net.connect(0);
    let mut exchange = Exchange::start(&mut net, line);
    for (writer, limit) in limits.into_iter().enumerate() {
        net.lines[line].pipes[writer].limit(limit);
    }
    exchange.run(&mut net);
    net.break_line(line, told_after.map(Some));
    exchange.run(&mut net);
    net.pass(20 * MS);
    if !exchange.answered {
        return None;
    }
    net.connect(1);
    exchange.run(&mut net);
    for _ in 0..40 {
        net.pass(250 * MS);
        exchange.run(&mut net);
    }
    exchange.assert_whole(&net);
    Some(())
}

#[test]
fn an_exchange_survives_a_cut_at_every_byte() {
    let [asked, answered] = lengths();
    assert!(asked > 100 && answered > 100, "{asked} {answered}");
    let mut survived = 0;
    let delays = [[Duration::ZERO; 2], [Duration::ZERO, S], [S, Duration::ZERO], [50 * MS; 2]];
    for told_after in delays {
        // In one direction the rest is lost, in the other all or nothing beyond the first bytes; and both at once.
        let ways = (0..=asked).map(|at| [at, u64::MAX]).chain((0..=answered).map(|at| [u64::MAX, at]));
        let both = (0..=asked.max(answered)).map(|at| [at, at]);
        for limits in ways.chain(both) {
            let caught = std::panic::catch_unwind(|| exchange_cut(limits, told_after));
            survived += u64::from(
                caught
                    .unwrap_or_else(|panic| {
                        eprintln!("cut at {limits:?}, told after {told_after:?}");
                        std::panic::resume_unwind(panic)
                    })
                    .is_some(),
            );
        }
    }
    // All but the cuts that come before the open has arrived, once for each way and delay.
    assert!(survived > 4 * (asked + 2 * answered) - 4 * 2 * 250, "{survived} of {asked}, {answered}");
}
