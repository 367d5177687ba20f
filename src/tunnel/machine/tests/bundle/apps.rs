//! The applications at both ends: what they do with sessions, and what they insist on.

use std::time::Duration;

use rand::Rng;

use super::{
    judge::Fair,
    life::{Life, pattern},
    net::{AGENT, GATEWAY, SIDES, Told},
    world::World,
};
use crate::{
    frame::{OpenRequest, OpenResult, ResetReason},
    machine::{Event, Liveness, NotSent, Received, Tunnel},
};

const WRITE_MAX: usize = 20_000;

impl World {
    pub(super) fn open(&mut self) {
        let alive = |tunnel: &Tunnel| tunnel.is_ready() && tunnel.liveness() == Liveness::Alive;
        let tunnels = self.net.hosts[GATEWAY].bundle.tunnels();
        let keys: Vec<_> = tunnels.filter(|(_, tunnel)| alive(tunnel)).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.random_range(0..keys.len())];
        let id = self.next_id;
        self.next_id += self.rng.random_range(1..3);
        let now = self.net.now;
        if self.net.hosts[GATEWAY].bundle.open(key, id, OpenRequest::resource("r"), now).is_err() {
            return;
        }
        self.tally.opened += 1;
        self.lives.insert(id, Life::new(id, now));
        if self.rng.random_bool(0.4) {
            self.write_to(GATEWAY, id);
            if self.rng.random_bool(0.3) {
                self.finish_one(GATEWAY, id);
            }
        }
    }

    pub(super) fn write(&mut self) {
        if let Some((side, id)) = self.pick() {
            self.write_to(side, id);
        }
    }

    fn write_to(&mut self, side: usize, id: u64) {
        let small = self.rng.random_bool(0.5);
        let len = self.rng.random_range(1..if small { 40 } else { WRITE_MAX });
        let grip = &mut self.lives.get_mut(&id).unwrap().grips[side];
        if grip.finished || grip.write_waits {
            return;
        }
        let mut bytes = pattern(id, side, grip.written, len);
        match self.net.hosts[side].bundle.send(id, &mut bytes) {
            Ok(0) => grip.write_waits = true,
            Ok(count) => grip.written += count as u64,
            Err(error) => {
                assert_eq!(error, NotSent::Gone, "seed {} side {side} session {id}", self.seed);
                self.check_gone(side, id);
            }
        }
    }

    pub(super) fn read_some(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        let max = self.rng.random_range(1..30_000);
        let pause = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..5000));
        let now = self.net.now;
        let grip = &mut self.lives.get_mut(&id).unwrap().grips[side];
        if grip.pauses_until.is_some_and(|until| now < until) {
            return;
        }
        grip.pauses_until = pause.map(|pause| now + Duration::from_millis(pause));
        if !grip.read_waits {
            self.read(side, id, max);
        }
    }

    /// Reads once; true when there were bytes.
    pub(super) fn read(&mut self, side: usize, id: u64, max: usize) -> bool {
        let (seed, now) = (self.seed, self.net.now);
        let [ours, theirs] = {
            let grips = &self.lives[&id].grips;
            [&grips[side], &grips[1 - side]]
        };
        match self.net.hosts[side].bundle.recv(id, max, now) {
            Received::Bytes(bytes) => {
                assert!(bytes.len() <= max);
                let expected = pattern(id, 1 - side, ours.read, bytes.len());
                assert!(
                    bytes == expected,
                    "seed {seed} side {side} session {id}: wrong bytes at {}",
                    ours.read
                );
                assert!(
                    ours.read + bytes.len() as u64 <= theirs.written,
                    "seed {seed}: more than was written"
                );
                assert!(!ours.end_seen, "seed {seed} side {side} session {id}: bytes after the end");
                self.tally.bytes += bytes.len() as u64;
                self.lives.get_mut(&id).unwrap().grips[side].read += bytes.len() as u64;
                true
            }
            Received::Finished => {
                let whole = theirs.finished && ours.read == theirs.written;
                assert!(whole, "seed {seed} side {side} session {id}: an end before the end");
                self.lives.get_mut(&id).unwrap().grips[side].end_seen = true;
                false
            }
            Received::Nothing => {
                assert!(!ours.end_seen, "seed {seed} side {side} session {id}: the end is not the end");
                self.lives.get_mut(&id).unwrap().grips[side].read_waits = true;
                false
            }
            Received::Gone => {
                self.check_gone(side, id);
                false
            }
        }
    }

    /// Whoever finds a session gone was told of it, or is at once.
    fn check_gone(&mut self, side: usize, id: u64) {
        if !self.lives[&id].grips[side].lost {
            self.net.collect_all();
            self.watch();
        }
        assert!(
            self.lives[&id].grips[side].lost,
            "seed {} side {side} session {id}: gone without a word",
            self.seed
        );
    }

    pub(super) fn finish(&mut self) {
        if let Some((side, id)) = self.pick() {
            self.finish_one(side, id);
        }
    }

    pub(super) fn finish_one(&mut self, side: usize, id: u64) {
        self.lives.get_mut(&id).unwrap().grips[side].finished = true;
        self.net.hosts[side].bundle.finish(id);
    }

    /// Resets a session, or lets go of it early.
    pub(super) fn cut_one(&mut self) {
        let Some((side, id)) = self.pick() else { return };
        if self.rng.random_bool(0.5) {
            self.lives.get_mut(&id).unwrap().grips[side].cut = true;
            let reason = if side == GATEWAY { ResetReason::CallerGone } else { ResetReason::TargetReset };
            self.net.hosts[side].bundle.reset(id, reason, "cut by the application");
        }
        self.release(side, id);
    }

    fn release(&mut self, side: usize, id: u64) {
        let grip = &mut self.lives.get_mut(&id).unwrap().grips[side];
        grip.cut |= !grip.is_done() && !grip.lost;
        grip.held = false;
        self.net.hosts[side].bundle.release(id, self.net.now);
        self.net.collect_parked(side);
    }

    /// A session that an application may use: at the agent, only once it has said yes.
    fn pick(&mut self) -> Option<(usize, u64)> {
        let side = self.rng.random_range(0..2);
        let ids = self.usable(side);
        (!ids.is_empty()).then(|| (side, ids[self.rng.random_range(0..ids.len())]))
    }

    pub(super) fn usable(&self, side: usize) -> Vec<u64> {
        let yes = |life: &Life| side == GATEWAY || life.answered.is_some();
        let usable = self.lives.values().filter(|life| life.grips[side].held && yes(life));
        usable.map(|life| life.id).collect()
    }

    /// The agent's application answers, sooner, later or not at all.
    fn answer_some(&mut self) {
        let asked = |life: &&Life| life.grips[AGENT].held && life.answered.is_none();
        let asked: Vec<u64> = self.lives.values().filter(asked).map(|life| life.id).collect();
        for id in asked {
            // Some are never answered, so that the open times out.
            let slow = id % 16 == 0 && !self.calm;
            if slow || self.rng.random_bool(0.4) && !self.calm {
                continue;
            }
            let yes = self.calm || self.rng.random_bool(0.93);
            let life = self.lives.get_mut(&id).unwrap();
            life.answered = Some((self.net.now, yes));
            let bundle = &mut self.net.hosts[AGENT].bundle;
            if yes {
                bundle.accept(id);
            } else {
                life.grips[AGENT].held = false;
                bundle.refuse(id, OpenResult::Refused, "");
            }
        }
    }

    /// Takes what the machines tell, judges it, and lets go of what is done.
    pub(super) fn watch(&mut self) {
        while let Some(told) = self.net.told.pop_front() {
            self.note(told);
        }
        self.answer_some();
        for side in SIDES {
            let over =
                |life: &&Life| life.grips[side].held && (life.grips[side].lost || life.grips[side].is_done());
            let over: Vec<u64> = self.lives.values().filter(over).map(|life| life.id).collect();
            for id in over {
                let (done, lost) = (self.lives[&id].grips[side].is_done(), self.lives[&id].grips[side].lost);
                if lost && self.rng.random_bool(0.7) {
                    // What had come whole may still be read.
                    while self.read(side, id, usize::MAX) {}
                }
                if lost || done && (self.calm || self.rng.random_bool(0.5)) {
                    self.release(side, id);
                }
            }
        }
    }

    fn note(&mut self, told: Told) {
        let (seed, side) = (self.seed, told.side);
        match told.event.clone() {
            Event::Incoming { session, .. } => {
                let life = self.lives.get_mut(&session).unwrap();
                life.offered += 1;
                assert_eq!(life.offered, 1, "seed {seed} session {session}: offered again");
                assert!(!life.unheard, "seed {seed} session {session}: offered after all");
                life.grips[AGENT].held = true;
            }
            Event::Readable { session } => {
                self.lives.get_mut(&session).unwrap().grips[side].read_waits = false
            }
            Event::Writable { session } => {
                self.lives.get_mut(&session).unwrap().grips[side].write_waits = false
            }
            Event::Opened { session, result: OpenResult::Ok, .. } => {
                let life = self.lives.get_mut(&session).unwrap();
                let yes = life.answered.is_some_and(|(_, yes)| yes);
                assert!(yes && !life.opened, "seed {seed} session {session}: a yes that was not given");
                life.opened = true;
            }
            Event::Opened { session, result, detail } => {
                let fair = self.judge_answer(session, result);
                let what = format!("{result}: {detail}");
                self.lose(side, session, fair, &what);
            }
            Event::Reset { session, reason, detail, by_peer } => {
                if !self.lives[&session].grips[side].held {
                    return;
                }
                let fair = self.judge_reset(&told, session, reason, by_peer);
                let what = format!("reset {reason} by_peer {by_peer} line {:?}: {detail}", told.line);
                self.lose(side, session, fair, &what);
            }
            Event::Resumed { .. } => self.tally.resumed += 1,
            _ => {}
        }
    }

    /// A session is over for `side`. That must be fair.
    fn lose(&mut self, side: usize, id: u64, fair: Option<Fair>, what: &str) {
        let Some(fair) = fair else {
            let life = &self.lives[&id];
            let good = self.good_at.map(|at| self.net.now - at);
            panic!("seed {} side {side}: lost unfairly: {what}; good {good:?} ago\n{life:#?}", self.seed);
        };
        *self.tally.losses.entry(fair).or_default() += 1;
        let life = self.lives.get_mut(&id).unwrap();
        life.unheard |= fair == Fair::Unheard;
        life.unsaid |= fair == Fair::Unsaid;
        life.grips[side].lost = true;
    }
}
