//! Random lives of a pair. The same seed gives the same life.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::pair::{End, Pair};
use crate::{
    frame::{OpenRequest, OpenResult, ResetReason},
    machine::{Config, Event, Received},
};

const SEEDS: u64 = 400;
const STEPS: usize = 300;
const SIDES: [Side; 2] = [Side::Gateway, Side::Agent];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Gateway,
    Agent,
}

/// What the test knows of one direction of a session.
#[derive(Debug, Default)]
struct Stream {
    written: u64,
    read: u64,
    finished: bool,
    end_seen: bool,
}

struct World {
    seed: u64,
    rng: StdRng,
    pair: Pair,
    next_id: u64,
    /// By session and the side that writes.
    streams: BTreeMap<(u64, Side), Stream>,
    /// Sessions that a side may use.
    live: BTreeMap<Side, BTreeSet<u64>>,
    cut: BTreeSet<u64>,
}

#[test]
fn bytes_arrive_once_and_in_order_and_nothing_is_left() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.heal();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut config = || Config {
            window_initial: rng.random_range(4096..40_000),
            window_max: 100_000,
            max_frame: rng.random_range(1024..20_000),
            send_queue_max: rng.random_range(2000..50_000),
            budget: rng.random_range(100_000..4_000_000),
            sessions_max: 12,
            ..Config::default()
        };
        let mut pair = Pair::with(config(), config());
        pair.latency = Duration::from_millis(rng.random_range(0..30));
        let (streams, live, cut) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { seed, rng, pair, next_id: 1, streams, live, cut }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..10 => self.open(),
            10..45 => self.write(),
            45..75 => self.read_some(),
            75..79 => self.finish(),
            79..81 => self.reset(),
            81..90 => {
                self.pair.exchange();
            }
            _ => self.pair.pass(Duration::from_millis(self.rng.random_range(0..80))),
        }
        self.watch();
    }

    fn open(&mut self) {
        let id = self.next_id;
        self.next_id += self.rng.random_range(1..3);
        if self.pair.gateway.tunnel.open(id, OpenRequest::resource("r"), self.pair.now).is_ok() {
            self.live.entry(Side::Gateway).or_default().insert(id);
            for side in SIDES {
                self.streams.insert((id, side), Stream::default());
            }
        }
    }

    fn write(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        let stream = self.streams.get_mut(&(id, side)).unwrap();
        if stream.finished {
            return;
        }
        let len = if self.rng.random_bool(0.3) { 30 } else { self.rng.random_range(1..30_000) };
        let mut bytes = pattern(id, side, stream.written, len);
        stream.written += end(&mut self.pair, side).tunnel.send(id, &mut bytes).unwrap() as u64;
    }

    fn read_some(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        let max = self.rng.random_range(1..30_000);
        self.read(side, id, max);
    }

    fn read(&mut self, side: Side, id: u64, max: usize) -> bool {
        let now = self.pair.now;
        let writer = if side == Side::Gateway { Side::Agent } else { Side::Gateway };
        let stream = self.streams.get_mut(&(id, writer)).unwrap();
        match end(&mut self.pair, side).tunnel.recv(id, max, now) {
            Received::Bytes(bytes) => {
                assert!(bytes.len() <= max);
                assert_eq!(
                    bytes,
                    pattern(id, writer, stream.read, bytes.len()),
                    "seed {} session {id}",
                    self.seed
                );
                stream.read += bytes.len() as u64;
                true
            }
            Received::Finished => {
                assert!(stream.finished && stream.read == stream.written, "seed {} session {id}", self.seed);
                stream.end_seen = true;
                false
            }
            Received::Nothing | Received::Gone => false,
        }
    }

    fn finish(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        self.streams.get_mut(&(id, side)).unwrap().finished = true;
        end(&mut self.pair, side).tunnel.finish(id);
    }

    fn reset(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        self.cut.insert(id);
        end(&mut self.pair, side).tunnel.reset(id, ResetReason::CallerGone, "");
    }

    /// Does what the events ask for and lets go of sessions that have ended.
    fn watch(&mut self) {
        for side in SIDES {
            for event in end(&mut self.pair, side).events() {
                match event {
                    Event::Incoming { session, .. } if self.rng.random_bool(0.9) => {
                        self.pair.agent.tunnel.accept(session);
                        self.live.entry(Side::Agent).or_default().insert(session);
                    }
                    Event::Incoming { session, .. } => {
                        self.pair.agent.tunnel.refuse(session, OpenResult::Refused, "");
                    }
                    Event::Opened { session, result, .. } if result != OpenResult::Ok => {
                        self.lose(side, session)
                    }
                    Event::Reset { session, .. } => self.lose(side, session),
                    Event::Closed { detail, .. } => panic!("seed {}: closed: {detail}", self.seed),
                    _ => {}
                }
            }
            let now = self.pair.now;
            let ended = |id: &u64| {
                let (ours, theirs) = match side {
                    Side::Gateway => (&self.streams[&(*id, side)], &self.streams[&(*id, Side::Agent)]),
                    Side::Agent => (&self.streams[&(*id, side)], &self.streams[&(*id, Side::Gateway)]),
                };
                ours.finished && theirs.end_seen
            };
            let done: Vec<u64> =
                self.live.get(&side).into_iter().flatten().copied().filter(|id| ended(id)).collect();
            for id in done {
                end(&mut self.pair, side).tunnel.release(id, now);
                self.live.entry(side).or_default().remove(&id);
            }
        }
    }

    fn lose(&mut self, side: Side, id: u64) {
        self.cut.insert(id);
        self.live.entry(side).or_default().remove(&id);
    }

    /// Everyone finishes and reads all: then each byte has arrived, and no memory is held.
    fn heal(&mut self) {
        for round in 0..20_000 {
            let mut busy = false;
            for side in SIDES {
                for id in self.live.get(&side).cloned().unwrap_or_default() {
                    self.streams.get_mut(&(id, side)).unwrap().finished = true;
                    end(&mut self.pair, side).tunnel.finish(id);
                    while self.read(side, id, usize::MAX) {}
                    busy = true;
                }
            }
            self.pair.pass(Duration::from_millis(20));
            self.watch();
            if !busy && round > 2 {
                break;
            }
        }
        self.pair.pass(Duration::from_millis(300));
        for ((id, side), stream) in &self.streams {
            if !self.cut.contains(id) {
                assert_eq!(stream.read, stream.written, "seed {} session {id} {side:?}", self.seed);
                assert!(stream.end_seen, "seed {} session {id} {side:?}", self.seed);
            }
        }
        for side in SIDES {
            let end = end(&mut self.pair, side);
            let left =
                (end.tunnel.sessions(), end.tunnel.unanswered(), end.budget.held(), end.budget.grown());
            assert_eq!(left, (0, 0, 0, 0), "seed {} {side:?}", self.seed);
        }
    }

    fn pick(&mut self) -> Option<(Side, u64)> {
        let side = SIDES[self.rng.random_range(0..2)];
        let ids = self.live.get(&side).filter(|ids| !ids.is_empty())?;
        let index = self.rng.random_range(0..ids.len());
        ids.iter().nth(index).map(|id| (side, *id))
    }
}

fn end(pair: &mut Pair, side: Side) -> &mut End {
    match side {
        Side::Gateway => &mut pair.gateway,
        Side::Agent => &mut pair.agent,
    }
}

/// Bytes that differ by session, direction and place, so that no gap, repeat or mix-up goes unseen.
fn pattern(id: u64, side: Side, offset: u64, len: usize) -> Bytes {
    let start = id.wrapping_mul(7919) + u64::from(side == Side::Agent) * 13;
    (offset..offset + len as u64).map(|at| ((at.wrapping_mul(31) >> 3) ^ at ^ start) as u8).collect()
}
