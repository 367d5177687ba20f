//! One process whose peer says whatever it likes, in well-formed frames, on up to two tunnels.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use warren_tunnel::{
    frame::{
        CloseReason, Decoder, Frame, FrameType, OpenRequest, OpenResult, ResetReason, ResumePoint,
        ResumeResult, SessionKind,
    },
    machine::{Config, Event, Role, Tunnel, TunnelKey},
};

use crate::{
    ends::End,
    script::{Script, pattern},
};

const TUNNELS_MAX: usize = 2;
const STEPS_MAX: usize = 300;
const IDS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, u64::MAX];
const LENGTHS: [usize; 6] = [1, 16, 500, 4096, 5000, 40_000];
const TIMES_MS: [u64; 6] = [1, 100, 2_000, 4_000, 8_000, 40_000];

/// A peer that breaks the protocol loses the tunnel and nothing else happens: what this end says stays well-formed, what
/// it holds and queues stays bounded, and when all is over no memory is held.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut world = World::new(&mut script);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
        world.watch();
    }
    world.end();
}

struct World {
    now: Instant,
    role: Role,
    config: Config,
    end: End,
    /// Offsets that would be right, as said and as heard, so that much of what is said makes sense.
    said: BTreeMap<u64, u64>,
    heard: BTreeMap<u64, u64>,
    ids: BTreeSet<u64>,
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let config = Config {
            window_initial: script.pick(&[4096, 10_000]),
            window_max: 100_000,
            max_frame: script.pick(&[65_536, 1024]),
            send_queue_max: 5000,
            budget: script.pick(&[1 << 20, 20_000]),
            sessions_max: 5,
            pending_opens_max: 4,
            control_queue_max: 64,
            premature_resets_max: 20,
            ..Config::default()
        };
        let role = script.pick(&[Role::Agent, Role::Gateway]);
        let mut world = Self {
            now: Instant::now(),
            role,
            end: End::new(config.clone(), role),
            config,
            said: BTreeMap::new(),
            heard: BTreeMap::new(),
            ids: BTreeSet::new(),
        };
        world.connect(1);
        world
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 32 {
            0..16 => {
                let Some(key) = self.key(script) else { return };
                let frame = self.frame(script);
                self.hear(key, frame);
            }
            16..18 => self.open(script),
            18..20 => {
                let (id, ok) = (script.pick(&IDS), script.byte() % 4 < 3);
                if !self.end.offered.remove(&id) {
                } else if ok {
                    self.end.bundle.accept(id);
                    self.end.held.insert(id);
                } else {
                    self.end.bundle.refuse(id, OpenResult::Refused, "no");
                }
            }
            20..22 => {
                let (id, len) = (script.pick(&IDS), script.pick(&LENGTHS));
                // Whether it takes them is for the other target to judge.
                let _ = self.end.bundle.send(id, &mut pattern(0, 0, len));
            }
            22..24 => {
                let (id, max) = (script.pick(&IDS), script.pick(&LENGTHS));
                self.end.bundle.recv(id, max, self.now);
            }
            24 => self.end.bundle.finish(script.pick(&IDS)),
            25 => self.end.bundle.reset(script.pick(&IDS), ResetReason::Internal, "no more"),
            26 => {
                let id = script.pick(&IDS);
                self.end.bundle.release(id, self.now);
                self.end.held.remove(&id);
            }
            27 | 28 => self.say_all(),
            29 => {
                self.now += Duration::from_millis(script.pick(&TIMES_MS));
                self.end.handle_timeouts(self.now);
            }
            30 => {
                let epoch = script.pick(&[2, 3, 1, 4]);
                if self.end.keys.len() < TUNNELS_MAX {
                    self.connect(epoch);
                }
            }
            _ => {
                let (Some(key), how) = (self.key(script), script.byte() % 4) else { return };
                self.end.act(key, self.now, |tunnel| match how {
                    0 => tunnel.lost("the connection broke"),
                    1 => tunnel.close(CloseReason::Shutdown, "enough"),
                    2 => tunnel.close(CloseReason::Recycled, "afresh"),
                    _ => tunnel.drain(Duration::from_secs(1), "drained", Instant::now()),
                });
            }
        }
    }

    /// A tunnel with a peer that says it is the one of `epoch`, which may be one that was.
    fn connect(&mut self, epoch: u64) {
        let peer = match self.role {
            Role::Agent => Role::Gateway,
            Role::Gateway => Role::Agent,
        };
        let (_, hello) = End::new(self.config.clone(), peer).tunnel(epoch, self.now);
        let (mut tunnel, _) = self.end.tunnel(epoch, self.now);
        tunnel.handle_frame(hello, self.now).expect("a good hello");
        self.end.join(tunnel, self.now);
    }

    fn open(&mut self, script: &mut Script<'_>) {
        let (Some(key), id) = (self.key(script), script.pick(&IDS)) else { return };
        let request = script.pick::<fn() -> OpenRequest>(&[
            || OpenRequest::resource("r"),
            OpenRequest::echo,
            OpenRequest::control,
        ])();
        // An id is not used twice; the rest is the machine's to refuse.
        if self.ids.insert(id) && self.end.bundle.open(key, id, request, self.now).is_ok() {
            self.end.held.insert(id);
        }
    }

    fn hear(&mut self, key: TunnelKey, frame: Frame) {
        if let Err(error) = self.end.bundle.handle_frame(key, frame, self.now) {
            let ended = self.end.bundle.tunnel(key).is_none_or(Tunnel::is_ended);
            assert!(ended, "goes on after: {}", error.chain());
        }
    }

    /// Some frame, more often than not one that makes sense.
    fn frame(&mut self, script: &mut Script<'_>) -> Frame {
        let (session, detail) = (script.pick(&IDS), "said the peer".to_owned());
        match script.pick(FrameType::ALL) {
            FrameType::Hello => self.end.tunnel(1, self.now).1,
            FrameType::Open => {
                let mut request = OpenRequest::resource("r");
                request.kind = script.pick(&[SessionKind::Resource, SessionKind::Echo, SessionKind::Control]);
                self.said.insert(session, 0);
                self.heard.insert(session, 0);
                Frame::Open { session, request }
            }
            FrameType::OpenAck => Frame::OpenAck {
                session,
                result: script.pick(&[OpenResult::Ok, OpenResult::Refused]),
                window: script.pick(&[4096, 0, u32::MAX]),
                detail,
            },
            FrameType::Data => {
                let (offset, len) = (self.offset(script, session), script.pick(&LENGTHS));
                let said = self.said.entry(session).or_default();
                *said = said.wrapping_add(len as u64);
                Frame::Data { session, offset, bytes: pattern(0, 0, len) }
            }
            FrameType::Credit => Frame::Credit {
                session,
                consumed: self.heard_offset(script, session),
                window: script.pick(&[4096, 0, u32::MAX]),
            },
            FrameType::Fin => Frame::Fin { session, offset: self.offset(script, session) },
            FrameType::Reset => Frame::Reset { session, reason: script.pick(ResetReason::ALL), detail },
            FrameType::Ping => Frame::Ping { nonce: script.byte().into() },
            FrameType::Pong => Frame::Pong { nonce: script.byte().into() },
            FrameType::Drain => Frame::Drain { deadline_ms: script.pick(&[0, 1000, u32::MAX]), detail },
            FrameType::Close => Frame::Close { reason: script.pick(CloseReason::ALL), detail },
            FrameType::Resume => Frame::Resume { session, point: self.point(script, session) },
            FrameType::ResumeAck => Frame::ResumeAck {
                session,
                result: script.pick(ResumeResult::ALL),
                point: self.point(script, session),
            },
            FrameType::Forsaken => Frame::Forsaken { epoch: script.pick(&[1, 2, 3, 4, u64::MAX]) },
            FrameType::Settled => Frame::Settled { epoch: script.pick(&[1, 2, 3, 4, u64::MAX]) },
        }
    }

    fn key(&self, script: &mut Script<'_>) -> Option<TunnelKey> {
        let count = self.end.keys.len().max(1);
        self.end.keys.get(usize::from(script.byte()) % count).copied()
    }

    fn point(&self, script: &mut Script<'_>, session: u64) -> ResumePoint {
        let received = self.heard_offset(script, session);
        let consumed = if script.flag() { self.heard_offset(script, session) } else { received };
        let (window, finished) = (script.pick(&[4096, 0, u32::MAX]), script.byte() % 4 == 3);
        ResumePoint { received, consumed, window, finished }
    }

    fn offset(&self, script: &mut Script<'_>, session: u64) -> u64 {
        bend(script, self.said.get(&session).copied().unwrap_or(0))
    }

    fn heard_offset(&self, script: &mut Script<'_>, session: u64) -> u64 {
        bend(script, self.heard.get(&session).copied().unwrap_or(0))
    }

    /// Lets this end say all it has to say: frames, and not without end.
    fn say_all(&mut self) {
        for key in self.end.keys.clone() {
            let mut decoder = Decoder::new();
            for round in 0.. {
                assert!(round < 1000, "the end never stops talking");
                let mut batch: Vec<Bytes> = Vec::new();
                if self.end.bundle.poll_transmit(key, self.now, 16 * 1024, &mut batch) == 0 {
                    break;
                }
                decoder.push(batch.concat().into());
                while let Some(frame) = decoder.next_frame().expect("this end's bytes are frames") {
                    if let Frame::Data { session, offset, bytes } = frame {
                        self.heard.insert(session, offset + bytes.len() as u64);
                    }
                }
            }
        }
    }

    fn watch(&mut self) {
        let events = self.end.events();
        let most = 8 + 4 * self.config.sessions_max * (1 + TUNNELS_MAX);
        assert!(events.len() <= most, "{} events: {events:?}", events.len());
        for event in events {
            match event {
                Event::Incoming { session, .. } => {
                    self.end.offered.insert(session);
                    self.ids.insert(session);
                }
                Event::Reset { session, .. } if self.end.offered.remove(&session) => {
                    self.end.bundle.release(session, self.now);
                }
                _ => {}
            }
        }
        for (_, tunnel) in self.end.bundle.tunnels() {
            assert!(tunnel.sessions() <= self.config.sessions_max * TUNNELS_MAX);
            assert!(tunnel.unanswered() <= tunnel.sessions());
        }
    }

    /// Everyone lets go: then nothing is left.
    fn end(&mut self) {
        for key in self.end.keys.clone() {
            self.end.act(key, self.now, |tunnel| tunnel.lost("the end"));
        }
        self.watch();
        for id in std::mem::take(&mut self.ids) {
            self.end.bundle.release(id, self.now);
        }
        self.now += Duration::from_secs(60);
        self.end.handle_timeouts(self.now);
        self.watch();
        assert_eq!(self.end.left(), [0; 5]);
        assert!(self.end.bundle.is_empty());
    }
}

/// The right offset, mostly; else one nearby or far away.
fn bend(script: &mut Script<'_>, right: u64) -> u64 {
    match script.byte() % 16 {
        0..12 => right,
        12 => right.wrapping_add(1),
        13 => right.wrapping_sub(1),
        14 => script.byte().into(),
        _ => u64::MAX,
    }
}
