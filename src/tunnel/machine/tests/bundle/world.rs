//! A random world: applications that use sessions, an agent that dials, and a network that fails.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    judge::{PROVEN, Tally},
    life::Life,
    net::{AGENT, Net, SIDES, Shape},
};
use crate::{frame::CloseReason, machine::Config};

const STEPS: usize = 140;
const LINES_MAX: u16 = 4;
const MS: Duration = Duration::from_millis(1);

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) net: Net,
    pub(super) lives: BTreeMap<u64, Life>,
    /// When a tunnel was last seen to be good.
    pub(super) good_at: Option<Instant>,
    /// When the network was last not whole.
    pub(super) disturbed_at: Option<Instant>,
    /// Limits are so small that opens may be refused.
    pub(super) tight: bool,
    pub(super) restarted: bool,
    pub(super) tally: Tally,
    pub(super) rng: StdRng,
    pub(super) next_id: u64,
    /// By slot, when the agent dials again.
    redials: Vec<Option<Instant>>,
    /// Nothing connects before.
    outage_until: Option<Instant>,
    /// When a stalled pipe flows again, by line and writer.
    heals: BTreeMap<(usize, usize), Instant>,
    redial_max: Duration,
    /// How likely something fails in a step.
    faults: f64,
    /// At the end: everybody does his part at once.
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let tight = rng.random_bool(0.2);
        let mut config = || Config {
            window_initial: rng.random_range(4096..40_000),
            window_max: 100_000,
            max_frame: rng.random_range(1024..20_000),
            send_queue_max: rng.random_range(2000..50_000),
            budget: if tight { rng.random_range(20_000..200_000) } else { 64 << 20 },
            sessions_max: if tight { 6 } else { 1000 },
            ..Config::default()
        };
        let mut net = Net::new([config(), config()], seed);
        net.shape = Shape {
            piece_max: [30, 700, 1400, 64 << 10][rng.random_range(0..4)],
            batch_max: rng.random_range(1000..128 << 10),
            under_way_max: rng.random_range(2000..300_000),
            late: [0.0, 0.05, 0.5][rng.random_range(0..3)],
        };
        let slots = rng.random_range(1..=LINES_MAX);
        let redial_max = Duration::from_millis([50, 500, 5000][rng.random_range(0..3)]);
        let faults = [0.01, 0.03, 0.1][rng.random_range(0..3)];
        let next_id = rng.random_range(1..100);
        Self {
            seed,
            net,
            lives: BTreeMap::new(),
            good_at: None,
            disturbed_at: None,
            tight,
            restarted: false,
            tally: Tally::default(),
            rng,
            next_id,
            redials: vec![None; slots.into()],
            outage_until: None,
            heals: BTreeMap::new(),
            redial_max,
            faults,
            calm: false,
        }
    }

    pub(super) fn run(mut self) -> Tally {
        for _ in 0..STEPS {
            self.step();
        }
        match self.seed % 16 {
            0 => self.expire(),
            1 => self.restart(),
            _ => self.heal(),
        }
        self.check_end();
        self.tally
    }

    fn step(&mut self) {
        if self.rng.random_bool(self.faults) {
            self.fail();
        }
        match self.rng.random_range(0..100) {
            0..10 => self.open(),
            10..40 => self.write(),
            40..70 => self.read_some(),
            70..75 => self.finish(),
            75..76 => self.cut_one(),
            76..86 => {
                self.net.exchange();
            }
            _ => {
                let long = self.rng.random_bool(0.1);
                let max = if long { 4000 } else { 150 };
                let time = Duration::from_millis(self.rng.random_range(0..max));
                self.pass(time);
            }
        }
        self.watch();
    }

    /// Lets time pass in small steps, as the agent dials and the network changes.
    fn pass(&mut self, time: Duration) {
        let end = self.net.now + time;
        while self.net.now < end {
            self.tend_network();
            let step = (end - self.net.now).min(250 * MS);
            self.net.pass(step);
            self.watch();
            self.look();
        }
    }

    fn tend_network(&mut self) {
        let now = self.net.now;
        self.heals.retain(|(line, writer), at| {
            let heals = *at <= now;
            if heals {
                self.net.lines[*line].pipes[*writer].flow(now);
            }
            !heals
        });
        if self.outage_until.is_some_and(|until| until > now) {
            return;
        }
        for slot in 0..self.redials.len() {
            let held = (0..self.net.lines.len())
                .any(|line| usize::from(self.net.lines[line].slot) == slot && self.net.is_held(AGENT, line));
            if held {
                self.redials[slot] = None;
                continue;
            }
            let wait = self.redial_max.mul_f64(self.rng.random());
            if *self.redials[slot].get_or_insert(now + wait) <= now {
                self.redials[slot] = None;
                self.dial(slot as u16);
            }
        }
    }

    fn dial(&mut self, slot: u16) {
        let mut ms = |max: u64| Duration::from_millis(self.rng.random_range(0..max));
        let latency = [ms(40), ms(40)];
        let joins_after = [ms(20), ms(20)];
        self.tally.tunnels += 1;
        self.net.dial(slot, latency, joins_after);
    }

    /// Notes whether the network is whole.
    fn look(&mut self) {
        let now = self.net.now;
        let lines = 0..self.net.lines.len();
        if lines.clone().any(|line| self.net.is_good(line, PROVEN)) {
            self.good_at = Some(now);
        }
        let troubled = |line: usize| {
            let held = SIDES.map(|side| self.net.is_held(side, line));
            let flows = !self.net.lines[line].pipes.iter().any(|pipe| pipe.is_impaired());
            held[0] != held[1] || (held[0] && !flows)
        };
        let none_flows = !lines.clone().any(|line| self.net.is_good(line, Duration::ZERO));
        if none_flows || lines.into_iter().any(troubled) {
            self.disturbed_at = Some(now);
        }
    }

    fn fail(&mut self) {
        let held = |line: &usize| SIDES.iter().any(|side| self.net.is_held(*side, *line));
        let lines: Vec<usize> = (0..self.net.lines.len()).filter(held).collect();
        if lines.is_empty() {
            return;
        }
        self.disturbed_at = Some(self.net.now);
        let line = lines[self.rng.random_range(0..lines.len())];
        let later = |rng: &mut StdRng| {
            let ms = [0, 0, rng.random_range(0..300), rng.random_range(0..9000)][rng.random_range(0..4)];
            Some(Duration::from_millis(ms)).filter(|_| rng.random_bool(0.8))
        };
        match self.rng.random_range(0..20) {
            0..8 => {
                let told = [later(&mut self.rng), later(&mut self.rng)];
                self.net.break_line(line, told);
            }
            8..14 => {
                let heals = self.net.now + Duration::from_millis(self.rng.random_range(100..12_000));
                let writers = [0..1, 1..2, 0..2][self.rng.random_range(0..3)].clone();
                for writer in writers {
                    self.net.lines[line].pipes[writer].stall();
                    self.heals.insert((line, writer), heals);
                }
            }
            14..18 => {
                let keeping = [CloseReason::NotAlive, CloseReason::Fenced, CloseReason::Recycled];
                let reason = if self.rng.random_bool(0.8) {
                    keeping[self.rng.random_range(0..3)]
                } else {
                    CloseReason::ALL[self.rng.random_range(0..CloseReason::ALL.len())]
                };
                let side = self.rng.random_range(0..2);
                self.net.close(side, line, reason);
            }
            18 => {
                // The byte at which it breaks lies in what is said next.
                let [a, b] = [0, 1].map(|writer| self.net.lines[line].pipes[writer].arrived());
                let (more, other) = (self.rng.random_range(0..300), self.rng.random_range(0..300));
                self.net.lines[line].pipes[0].limit(a + more);
                self.net.lines[line].pipes[1].limit(b + other);
                for side in SIDES {
                    self.net.lines[line].ends[side].told_at =
                        later(&mut self.rng).map(|after| self.net.now + after);
                }
            }
            _ => {
                let long = self.rng.random_bool(0.15);
                let max = if long { 60_000 } else { 15_000 };
                let until = self.net.now + Duration::from_millis(self.rng.random_range(500..max));
                self.outage_until = Some(until);
                for line in lines {
                    for writer in SIDES {
                        self.net.lines[line].pipes[writer].stall();
                        self.heals.insert((line, writer), until);
                    }
                }
            }
        }
    }
}

/// How it ends.
impl World {
    /// The network is whole again, everybody reads to the end and says theirs.
    fn heal(&mut self) {
        (self.calm, self.outage_until, self.redial_max) = (true, None, 50 * MS);
        let now = self.net.now;
        self.heals.values_mut().for_each(|at| *at = now);
        for _ in 0..2000 {
            for side in SIDES {
                self.usable(side).into_iter().for_each(|id| self.finish_one(side, id));
            }
            self.read_all();
            self.pass(100 * MS);
            if !self.is_anything_held() {
                break;
            }
        }
        // The dead are found, and the last words are said.
        self.pass(10_000 * MS);
    }

    /// Whoever was not told to wait reads.
    fn read_all(&mut self) {
        for side in SIDES {
            for id in self.usable(side) {
                while !self.lives[&id].grips[side].read_waits && self.read(side, id, usize::MAX) {}
            }
        }
        self.watch();
    }

    /// No tunnel comes any more.
    fn expire(&mut self) {
        self.calm = true;
        self.outage_until = Some(self.net.now + Duration::from_secs(1000));
        for line in 0..self.net.lines.len() {
            self.net.break_line(line, [Some(Duration::ZERO); 2]);
        }
        self.pass(46_000 * MS);
        self.read_all();
    }

    /// Both processes are replaced, as far as the other one knows.
    fn restart(&mut self) {
        (self.calm, self.restarted) = (true, true);
        self.outage_until = Some(self.net.now + Duration::from_secs(1000));
        // A tunnel that has not joined would be one of the new process.
        for line in 0..self.net.lines.len() {
            if SIDES.iter().any(|side| self.net.key(*side, line).is_none()) {
                self.net.break_line(line, [Some(Duration::ZERO); 2]);
            }
        }
        self.net.settle();
        self.watch();
        for side in SIDES {
            let now = self.net.now;
            self.net.hosts[side].bundle.peer_gone(now);
            self.net.collect_parked(side);
            assert_eq!(self.net.hosts[side].bundle.parked(), 0, "seed {} side {side}", self.seed);
        }
        self.pass(2000 * MS);
        self.read_all();
    }

    fn is_anything_held(&self) -> bool {
        self.lives.values().any(|life| life.grips.iter().any(|grip| grip.held))
    }

    /// Whatever nobody cut has arrived whole, and nothing is left in either process.
    fn check_end(&mut self) {
        let seed = self.seed;
        for life in self.lives.values() {
            let whole = life.is_whole();
            assert!(whole || life.is_cut(), "seed {seed}: neither whole nor cut\n{life:#?}");
            let waits = life.grips.iter().any(|grip| grip.write_waits);
            assert!(!whole || !waits, "seed {seed}: a writer was never called\n{life:#?}");
            assert!(life.grips.iter().all(|grip| !grip.held), "seed {seed}: never let go of\n{life:#?}");
            let silent = !life.unsaid || life.grips[AGENT].read == 0;
            assert!(silent, "seed {seed} session {}: delivered though lost", life.id);
            self.tally.whole += u64::from(whole);
        }
        for side in SIDES {
            let left = self.net.left(side);
            assert!(left.is_empty(), "seed {seed} side {side}: left {left:?}");
        }
    }
}
