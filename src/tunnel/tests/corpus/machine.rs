//! Two processes with up to three tunnels between them, which break at any byte, while applications open, write, read and
//! end sessions. Both ends keep to the protocol, so neither may find fault with the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use warren_tunnel::{
    frame::{CloseReason, OpenRequest, OpenResult, ResetReason},
    machine::{Config, Event, Liveness, NotSent, Received, Role, Tunnel, TunnelKey},
};

use crate::{
    ends::End,
    lines::{Inlet, Line},
    script::{Script, pattern},
};

const LINES: usize = 3;
const SESSIONS_MAX: u64 = 24;
const STEPS_MAX: usize = 400;
const LENGTHS: [usize; 8] = [1, 16, 17, 100, 1000, 2049, 5000, 40_000];
const TIMES_MS: [u64; 8] = [1, 20, 100, 500, 2_000, 4_000, 8_000, 40_000];
/// Well below the time that sessions wait for a tunnel, for an end may have begun to wait before the other.
const DARK_MAX: Duration = Duration::from_secs(20);
const SIDES: [Side; 2] = [Side::Gateway, Side::Agent];

/// Bytes arrive once and in order, a session that nobody cuts goes on whatever becomes of its tunnels, and when all is over
/// no memory is held.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut world = World::new(&mut script);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
    }
    world.heal();
    world.end();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Gateway,
    Agent,
}

struct World {
    now: Instant,
    gateway: End,
    agent: End,
    lines: [Option<Line>; LINES],
    epoch: u64,
    next_id: u64,
    sessions: BTreeMap<u64, Session>,
    /// When all that was to say last came over.
    lit: Instant,
    /// Something was done, or left undone, that may end any session.
    all_excused: bool,
}

#[derive(Debug, Default)]
struct Session {
    /// The gateway was told that it is open.
    opened: bool,
    /// It was cut, or may be.
    excused: bool,
    from_gateway: Direction,
    from_agent: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    written: u64,
    read: u64,
    finished: bool,
    end_seen: bool,
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let config = Config {
            window_initial: script.pick(&[4096, 10_000, 40_000]),
            window_max: 100_000,
            max_frame: script.pick(&[1024, 5000, 65_536]),
            send_queue_max: script.pick(&[2000, 20_000, 131_072]),
            budget: script.pick(&[4 << 20, 100_000, 20_000]),
            sessions_max: 12,
            pending_opens_max: 8,
            ..Config::default()
        };
        let now = Instant::now();
        let mut world = Self {
            now,
            gateway: End::new(config.clone(), Role::Gateway),
            agent: End::new(config, Role::Agent),
            lines: [None, None, None],
            epoch: 0,
            next_id: 1,
            sessions: BTreeMap::new(),
            lit: now,
            all_excused: false,
        };
        world.connect(0, false);
        world
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 32 {
            0..3 => self.open(script),
            3..6 => self.answer(script),
            6..11 => self.write(script),
            11..15 => {
                let max = script.pick(&LENGTHS);
                if let Some((side, id)) = self.held(script) {
                    self.read(side, id, max);
                }
            }
            15..17 => {
                if let Some((side, id)) = self.held(script) {
                    self.finish(side, id);
                }
            }
            17..20 => {
                let (line, side, max) = (script.pick(&[0, 1, 2]), script.pick(&SIDES), script.pick(&LENGTHS));
                self.carry(line, side, max);
            }
            20..22 => self.carry_all(),
            22..25 => self.pass(Duration::from_millis(script.pick(&TIMES_MS))),
            25 => {
                let line = script.pick(&[0, 1, 2]);
                let sides = script.pick(&[&SIDES[..], &SIDES[..1], &SIDES[1..]]);
                for side in sides {
                    self.inlet(line, *side).into_iter().for_each(Inlet::break_off);
                }
            }
            26 => {
                let (line, side) = (script.pick(&[0, 1, 2]), script.pick(&SIDES));
                self.lose(line, side);
            }
            27 | 28 => {
                let (line, agent_first) = (script.pick(&[1, 2, 0]), script.flag());
                self.connect(line, agent_first);
            }
            29 => self.close(script),
            30 => {
                if let Some((side, id)) = self.held(script) {
                    self.session(id).excused = true;
                    self.end_at(side).bundle.reset(id, ResetReason::Internal, "as the script says");
                }
            }
            _ => {
                if let Some((side, id)) = self.held(script) {
                    self.session(id).excused |= !self.is_over(side, id);
                    self.release(side, id);
                }
            }
        }
        self.watch();
    }

    /// A new tunnel. What was in its place has broken.
    fn connect(&mut self, line: usize, agent_first: bool) {
        self.lose(line, Side::Gateway);
        self.lose(line, Side::Agent);
        self.epoch += 1;
        let now = self.now;
        let (mut gateway, from_gateway) = self.gateway.tunnel(self.epoch, now);
        let (mut agent, from_agent) = self.agent.tunnel(self.epoch, now);
        gateway.handle_frame(from_agent, now).expect("a good hello");
        agent.handle_frame(from_gateway, now).expect("a good hello");
        let (gateway, agent) = if agent_first {
            let agent = self.agent.join(agent, now);
            (self.gateway.join(gateway, now), agent)
        } else {
            (self.gateway.join(gateway, now), self.agent.join(agent, now))
        };
        self.lines[line] = Some(Line { gateway: Inlet::new(gateway), agent: Inlet::new(agent) });
    }

    fn open(&mut self, script: &mut Script<'_>) {
        let (line, step) = (script.pick(&[0, 1, 2]), script.pick(&[1, 2, 3]));
        let Some(key) = self.inlet(line, Side::Gateway).map(|inlet| inlet.key) else { return };
        let id = self.next_id;
        if id > SESSIONS_MAX {
            return;
        }
        self.next_id += step;
        if self.gateway.bundle.open(key, id, OpenRequest::resource("r"), self.now).is_ok() {
            self.sessions.insert(id, Session::default());
            self.gateway.held.insert(id);
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let refuse = script.byte() % 8 == 7;
        let Some(id) = nth(&self.agent.offered, script.byte()) else { return };
        self.agent.offered.remove(&id);
        if refuse {
            self.session(id).excused = true;
            self.agent.bundle.refuse(id, OpenResult::Refused, "as the script says");
        } else {
            self.agent.bundle.accept(id);
            self.agent.held.insert(id);
        }
    }

    fn write(&mut self, script: &mut Script<'_>) {
        let len = script.pick(&LENGTHS);
        let Some((side, id)) = self.held(script) else { return };
        let written = self.from(side, id).written;
        let sent = self.end_at(side).bundle.send(id, &mut pattern(name(id, side), written, len));
        match sent {
            Ok(count) => self.from(side, id).written += count as u64,
            // What only waits for its reader takes nothing either.
            Err(_) if self.from(side, id).finished => {}
            Err(NotSent::Finished) => panic!("session {id} at {side:?} was not finished"),
            Err(NotSent::Gone) => self.check_gone(side, id),
        }
    }

    /// Whether there was something.
    fn read(&mut self, side: Side, id: u64, max: usize) -> bool {
        let now = self.now;
        let received = self.end_at(side).bundle.recv(id, max, now);
        let writer = side.other();
        let direction = self.from(writer, id);
        match received {
            Received::Bytes(bytes) => {
                assert!((1..=max).contains(&bytes.len()));
                let expected = pattern(name(id, writer), direction.read, bytes.len());
                assert!(bytes == expected, "session {id} from {writer:?}, offset {}", direction.read);
                direction.read += bytes.len() as u64;
                assert!(direction.read <= direction.written, "session {id} from {writer:?}");
                return true;
            }
            Received::Finished => {
                let whole = direction.finished && direction.read == direction.written;
                assert!(whole, "session {id} from {writer:?} ends at {}", direction.read);
                direction.end_seen = true;
            }
            Received::Nothing => {}
            Received::Gone => self.check_gone(side, id),
        }
        false
    }

    fn finish(&mut self, side: Side, id: u64) {
        self.end_at(side).bundle.finish(id);
        self.from(side, id).finished = true;
    }

    fn release(&mut self, side: Side, id: u64) {
        let now = self.now;
        let end = self.end_at(side);
        end.bundle.release(id, now);
        end.held.remove(&id);
    }

    /// One end says goodbye.
    fn close(&mut self, script: &mut Script<'_>) {
        let (line, side, now) = (script.pick(&[0, 1, 2]), script.pick(&SIDES), self.now);
        let reason = script.pick(&[CloseReason::Recycled, CloseReason::Fenced, CloseReason::Shutdown]);
        let Some(key) = self.inlet(line, side).map(|inlet| inlet.key) else { return };
        self.all_excused |= !reason.keeps_sessions();
        self.end_at(side).act(key, now, |tunnel| tunnel.close(reason, "as the script says"));
    }

    /// One end finds its connection broken. What it has sent may still arrive.
    fn lose(&mut self, line: usize, side: Side) {
        let now = self.now;
        let Some(inlet) = self.inlet(line, side) else { return };
        inlet.break_off();
        let key = inlet.key;
        self.end_at(side).act(key, now, |tunnel| tunnel.lost("the connection broke"));
        if let Some(inlet) = self.inlet(line, side.other()) {
            inlet.broken = true;
        }
    }

    /// Moves bytes to `side`; false when nothing moved.
    fn carry(&mut self, line: usize, side: Side, max: usize) -> bool {
        let Some(Line { gateway, agent }) = &mut self.lines[line] else { return false };
        match side {
            Side::Gateway => gateway.carry(&mut self.agent, agent.key, &mut self.gateway, max, self.now),
            Side::Agent => agent.carry(&mut self.gateway, gateway.key, &mut self.agent, max, self.now),
        }
    }

    /// Moves all there is to move.
    fn carry_all(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for line in 0..LINES {
                for side in SIDES {
                    moved |= self.carry(line, side, usize::MAX);
                }
            }
            if !moved {
                if (0..LINES).any(|line| self.is_whole(line)) {
                    self.lit = self.now;
                }
                return;
            }
        }
        panic!("the ends never stop talking");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.all_excused |= self.now.duration_since(self.lit) > DARK_MAX;
        self.gateway.handle_timeouts(self.now);
        self.agent.handle_timeouts(self.now);
    }

    fn watch(&mut self) {
        for side in SIDES {
            for event in self.end_at(side).events() {
                self.note(side, event);
            }
        }
    }

    fn note(&mut self, side: Side, event: Event) {
        match event {
            Event::Incoming { session, .. } => {
                let new = self.agent.offered.insert(session);
                assert!(new && !self.agent.held.contains(&session), "session {session} came twice");
            }
            Event::Opened { session, result: OpenResult::Ok, .. } => {
                let before = std::mem::replace(&mut self.session(session).opened, true);
                assert!(!before, "session {session} was opened twice");
            }
            Event::Opened { session, .. } => {
                assert!(!self.session(session).opened, "session {session} was opened before");
                self.session(session).excused = true;
                self.gateway.held.remove(&session);
            }
            Event::Reset { session, reason, detail, .. } => {
                let (over, all_excused) = (self.is_over(side, session), self.all_excused);
                let known = self.session(session);
                let excused = all_excused || known.excused || !known.opened || over;
                assert!(excused, "session {session} at {side:?}: {reason}: {detail}");
                known.excused |= !over;
                let end = self.end_at(side);
                if end.offered.remove(&session) || !end.bundle.outlives(session) {
                    self.release(side, session);
                }
            }
            Event::Closed { reason, detail, .. } => {
                assert_ne!(reason, CloseReason::ProtocolError, "{detail}");
            }
            _ => {}
        }
    }

    /// A session that an application holds is gone only when it was cut.
    fn check_gone(&mut self, side: Side, id: u64) {
        let all_excused = self.all_excused;
        let session = self.session(id);
        let excused = all_excused || session.excused || !session.opened;
        assert!(excused, "session {id} is gone at {side:?}");
    }

    /// All move again: then every session comes to its end.
    fn heal(&mut self) {
        for line in (0..LINES).filter(|line| !self.is_whole(*line)).collect::<Vec<_>>() {
            self.lose(line, Side::Gateway);
            self.lose(line, Side::Agent);
        }
        self.connect(0, false);
        // In the end longer than an agent waits for a gateway that has forgotten a session.
        for round in 0..120 {
            self.carry_all();
            self.watch();
            for id in std::mem::take(&mut self.agent.offered) {
                self.agent.bundle.accept(id);
                self.agent.held.insert(id);
            }
            for side in SIDES {
                for id in self.end_at(side).held.clone() {
                    self.finish(side, id);
                    while self.read(side, id, usize::MAX) {}
                    let now = self.now;
                    let gone = self.end_at(side).bundle.recv(id, 0, now) == Received::Gone;
                    if gone || self.is_over(side, id) {
                        self.release(side, id);
                    }
                }
            }
            let quiet = |end: &End| end.held.is_empty() && end.left()[..4] == [0; 4];
            if quiet(&self.gateway) && quiet(&self.agent) {
                break;
            }
            self.pass(Duration::from_millis(if round < 60 { 20 } else { 1000 }));
        }
        for (id, session) in &self.sessions {
            for direction in [&session.from_gateway, &session.from_agent] {
                let whole = direction.end_seen && direction.read == direction.written;
                let excused = self.all_excused || session.excused || !session.opened;
                assert!(whole || excused, "session {id}: {session:?}");
            }
        }
        assert_eq!((self.gateway.left(), self.agent.left()), ([0; 5], [0; 5]));
    }

    /// Without tunnels nothing is left at all.
    fn end(&mut self) {
        for side in SIDES {
            let now = self.now;
            let end = self.end_at(side);
            for key in end.keys.clone() {
                end.act(key, now, |tunnel| tunnel.lost("the end"));
            }
            end.events();
            assert!(end.bundle.is_empty(), "{side:?} {:?}", end.bundle);
        }
    }

    fn is_whole(&self, line: usize) -> bool {
        self.lines[line].as_ref().is_some_and(|Line { gateway, agent }| {
            let unbroken = !gateway.broken && !agent.broken;
            unbroken && is_alive(&self.gateway, gateway.key) && is_alive(&self.agent, agent.key)
        })
    }

    /// Whether this end has said and heard all of it.
    fn is_over(&mut self, side: Side, id: u64) -> bool {
        self.from(side, id).finished && self.from(side.other(), id).end_seen
    }

    /// A session that an application holds, and which.
    fn held(&mut self, script: &mut Script<'_>) -> Option<(Side, u64)> {
        let side = script.pick(&SIDES);
        Some((side, nth(&self.end_at(side).held, script.byte())?))
    }

    fn end_at(&mut self, side: Side) -> &mut End {
        match side {
            Side::Gateway => &mut self.gateway,
            Side::Agent => &mut self.agent,
        }
    }

    fn inlet(&mut self, line: usize, side: Side) -> Option<&mut Inlet> {
        let Line { gateway, agent } = self.lines[line].as_mut()?;
        Some(match side {
            Side::Gateway => gateway,
            Side::Agent => agent,
        })
    }

    fn session(&mut self, id: u64) -> &mut Session {
        self.sessions.get_mut(&id).expect("a session that was opened")
    }

    /// What `side` writes.
    fn from(&mut self, side: Side, id: u64) -> &mut Direction {
        let session = self.session(id);
        match side {
            Side::Gateway => &mut session.from_gateway,
            Side::Agent => &mut session.from_agent,
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Gateway => Self::Agent,
            Self::Agent => Self::Gateway,
        }
    }
}

fn is_alive(end: &End, key: TunnelKey) -> bool {
    let alive = |tunnel: &Tunnel| tunnel.is_ready() && tunnel.liveness() == Liveness::Alive;
    end.bundle.tunnel(key).is_some_and(alive)
}

fn name(id: u64, writer: Side) -> u64 {
    id * 2 + u64::from(writer == Side::Agent)
}

fn nth(ids: &BTreeSet<u64>, choice: u8) -> Option<u64> {
    let count = ids.len().max(1);
    ids.iter().nth(usize::from(choice) % count).copied()
}
