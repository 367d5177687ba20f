//! Two bundles, the tunnels between them, and a network that delays, stalls and cuts.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};

use super::pipe::Pipe;
use crate::{
    budget::Budget,
    frame::{CloseReason, Decoder, Frame, Hello},
    machine::{Bundle, Config, Event, Liveness, Role, Tunnel, TunnelKey},
};

pub(super) const GATEWAY: usize = 0;
pub(super) const AGENT: usize = 1;
pub(super) const SIDES: [usize; 2] = [GATEWAY, AGENT];

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) hosts: [Host; 2],
    pub(super) lines: Vec<Line>,
    pub(super) told: VecDeque<Told>,
    pub(super) rng: StdRng,
    /// How the network cuts what is written into pieces, and how much of it is under way at once.
    pub(super) shape: Shape,
    pub(super) label: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) piece_max: usize,
    pub(super) batch_max: usize,
    pub(super) under_way_max: usize,
    /// How likely a piece comes some time after the one before.
    pub(super) late: f64,
}

/// Something that a machine told.
pub(super) struct Told {
    pub(super) side: usize,
    /// The tunnel that told it; none: the bundle.
    pub(super) line: Option<usize>,
    /// No tunnel was alive on that side then.
    pub(super) alone: bool,
    pub(super) event: Event,
}

/// One process.
pub(super) struct Host {
    pub(super) bundle: Bundle,
    pub(super) process: Budget,
    pub(super) config: Config,
}

/// One connection and the tunnel on it.
pub(super) struct Line {
    pub(super) slot: u16,
    pub(super) ends: [End; 2],
    /// By the side that writes.
    pub(super) pipes: [Pipe; 2],
    /// Nothing passes any more.
    pub(super) broken: bool,
    /// When somebody closed it for good, so that its sessions end with it.
    pub(super) ended_for_good: Option<Instant>,
    pub(super) joined_at: Option<Instant>,
}

pub(super) struct End {
    pub(super) stage: Stage,
    pub(super) decoder: Decoder,
    /// When the process learns that the connection broke.
    pub(super) told_at: Option<Instant>,
    /// When the driver stops to wait for its last frames to leave.
    pub(super) leave_by: Option<Instant>,
}

pub(super) enum Stage {
    Greeting(Box<Tunnel>),
    /// The hello came; it joins at that time.
    Greeted(Box<Tunnel>, Vec<Frame>, Instant),
    Joined(TunnelKey),
    Gone,
}

impl Net {
    pub(super) fn new(configs: [Config; 2], seed: u64) -> Self {
        let [gateway, agent] = configs;
        Self {
            now: Instant::now(),
            hosts: [Host::new(gateway, Role::Gateway), Host::new(agent, Role::Agent)],
            lines: Vec::new(),
            told: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            shape: Shape { piece_max: usize::MAX, batch_max: 128 << 10, under_way_max: 256 << 10, late: 0.0 },
            label: format!("seed {seed}"),
        }
    }

    /// A net without chance: no latency, whole pieces.
    pub(super) fn plain(gateway: Config, agent: Config) -> Self {
        Self::new([gateway, agent], 0)
    }

    /// The agent connects; each end joins so long after it has heard the other.
    pub(super) fn dial(&mut self, slot: u16, latency: [Duration; 2], joins_after: [Duration; 2]) -> usize {
        let epoch = self.lines.len() as u64 + 1;
        let ends = SIDES.map(|side| {
            let host = &self.hosts[side];
            let role = if side == GATEWAY { Role::Gateway } else { Role::Agent };
            let hello = Hello::new(side as u64 + 1, if side == AGENT { epoch } else { 0 }, slot);
            let budget = host.process.child(host.config.budget);
            let tunnel = Tunnel::new(host.config.clone(), role, hello, budget, self.now);
            End {
                stage: Stage::Greeting(Box::new(tunnel)),
                decoder: Decoder::new(),
                told_at: None,
                leave_by: None,
            }
        });
        let pipes = [Pipe::new(latency[0], joins_after[1]), Pipe::new(latency[1], joins_after[0])];
        self.lines.push(Line { slot, ends, pipes, broken: false, ended_for_good: None, joined_at: None });
        self.lines.len() - 1
    }

    /// A tunnel with no latency, joined at both ends.
    pub(super) fn connect(&mut self, slot: u16) -> usize {
        let line = self.dial(slot, [Duration::ZERO; 2], [Duration::ZERO; 2]);
        self.settle();
        assert!(SIDES.iter().all(|side| self.key(*side, line).is_some()));
        line
    }

    /// A tunnel that the gateway joins, but of which the agent hears nothing but the hello.
    pub(super) fn connect_but_unheard(&mut self, slot: u16) -> usize {
        let line = self.dial(slot, [Duration::ZERO; 2], [Duration::ZERO, Duration::from_secs(1)]);
        self.settle();
        assert!(self.key(GATEWAY, line).is_some() && self.key(AGENT, line).is_none());
        line
    }

    pub(super) fn key(&self, side: usize, line: usize) -> Option<TunnelKey> {
        match self.lines[line].ends[side].stage {
            Stage::Joined(key) => Some(key),
            _ => None,
        }
    }

    pub(super) fn act<T>(
        &mut self,
        side: usize,
        line: usize,
        act: impl FnOnce(&mut Tunnel) -> T,
    ) -> Option<T> {
        let (now, key) = (self.now, self.key(side, line)?);
        let result = self.hosts[side].bundle.act(key, now, act);
        self.collect(side, line);
        result
    }

    /// Nothing passes any more, and each side learns it after its delay, or by itself.
    pub(super) fn break_line(&mut self, line: usize, told_after: [Option<Duration>; 2]) {
        self.lines[line].broken = true;
        for side in SIDES {
            self.lines[line].pipes[side].cut();
            self.lines[line].ends[side].told_at = told_after[side].map(|after| self.now + after);
        }
    }

    /// Both ends learn at once.
    pub(super) fn cut(&mut self, line: usize) {
        self.break_line(line, [Some(Duration::ZERO); 2]);
        self.settle();
    }

    pub(super) fn close(&mut self, side: usize, line: usize, reason: CloseReason) {
        if !reason.keeps_sessions() {
            self.lines[line].ended_for_good = Some(self.now);
        }
        self.act(side, line, |tunnel| tunnel.close(reason, "closed by the test"));
    }

    /// Whether an end still holds the connection.
    pub(super) fn is_held(&self, side: usize, line: usize) -> bool {
        !matches!(self.lines[line].ends[side].stage, Stage::Gone)
    }

    /// Whether a line carries both ways, and has been joined at both ends for `time`.
    pub(super) fn is_good(&self, line: usize, time: Duration) -> bool {
        let it = &self.lines[line];
        let flows = !it.broken && it.pipes.iter().all(|pipe| !pipe.is_impaired());
        let ready = |side| {
            self.key(side, line)
                .and_then(|key| self.hosts[side].bundle.tunnel(key))
                .is_some_and(|tunnel| tunnel.is_ready() && tunnel.liveness() == Liveness::Alive)
        };
        let since = it.joined_at.max(it.pipes[0].flows_since()).max(it.pipes[1].flows_since());
        flows && SIDES.into_iter().all(ready) && since.is_some_and(|since| self.now >= since + time)
    }

    /// Until nothing moves at this instant.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.exchange() {
                return;
            }
        }
        panic!("{}: the ends never stop talking", self.label);
    }

    /// Lets `time` pass, stopping wherever something is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            match self.next_due() {
                Some(next) if next < end => self.now = next.max(self.now + Duration::from_nanos(1)),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    fn next_due(&self) -> Option<Instant> {
        let mut due: Vec<Instant> = Vec::new();
        for line in &self.lines {
            for side in SIDES {
                let end = &line.ends[side];
                if matches!(end.stage, Stage::Gone) {
                    continue;
                }
                let reads = !matches!(end.stage, Stage::Greeted(..));
                due.extend(line.pipes[1 - side].next_arrival().filter(|_| reads));
                due.extend(end.told_at);
                due.extend(end.leave_by);
                match &end.stage {
                    Stage::Greeting(tunnel) => due.extend(tunnel.poll_timeout()),
                    Stage::Greeted(_, _, at) => due.push(*at),
                    Stage::Joined(key) => {
                        due.extend(self.hosts[side].bundle.tunnel(*key).and_then(Tunnel::poll_timeout));
                    }
                    Stage::Gone => {}
                }
            }
        }
        due.extend(self.hosts.iter().filter_map(|host| host.bundle.poll_expiry()));
        due.into_iter().min()
    }

    pub(super) fn collect(&mut self, side: usize, line: usize) {
        let Some(key) = self.key(side, line) else { return };
        while let Some(event) = self.hosts[side].bundle.poll_tunnel_event(key) {
            if !matches!(event, Event::RoundTrip { .. }) {
                self.told.push_back(Told { side, line: Some(line), alone: false, event });
            }
        }
        self.collect_parked(side);
    }

    /// Takes all that the machines have to tell.
    pub(super) fn collect_all(&mut self) {
        for line in 0..self.lines.len() {
            SIDES.into_iter().for_each(|side| self.collect(side, line));
        }
    }

    pub(super) fn collect_parked(&mut self, side: usize) {
        let bundle = &mut self.hosts[side].bundle;
        let alone = !bundle.tunnels().any(|(_, tunnel)| tunnel.liveness() == Liveness::Alive);
        while let Some(event) = bundle.poll_event() {
            self.told.push_back(Told { side, line: None, alone, event });
        }
    }

    /// What a process holds when nothing should be left: sessions on tunnels, waiting, known places, bytes, growth.
    pub(super) fn left(&self, side: usize) -> BTreeMap<&'static str, usize> {
        let Host { bundle, process, .. } = &self.hosts[side];
        let sessions = bundle.tunnels().map(|(_, tunnel)| tunnel.sessions()).sum();
        BTreeMap::from([
            ("sessions", sessions),
            ("parked", bundle.parked()),
            ("homes", bundle.homes()),
            ("held", process.held()),
            ("grown", process.grown()),
        ])
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }
}

impl Host {
    fn new(config: Config, role: Role) -> Self {
        let process = Budget::new(config.budget.saturating_mul(2));
        let bundle = Bundle::new(config.clone(), role);
        Self { bundle, process, config }
    }
}
