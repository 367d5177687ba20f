//! A gateway's and an agent's bundle, joined by function calls.

use std::time::Instant;

use bytes::Bytes;
use warren_tunnel::{
    Budget,
    frame::{Decoder, Hello, OpenRequest},
    machine::{Bundle, Config, Event, Received, Role, Tunnel, TunnelKey},
};

/// What the driver takes at a time.
const BATCH: usize = 128 * 1024;

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) gateway: End,
    pub(crate) agent: End,
    epoch: u64,
    next_id: u64,
}

pub(crate) struct End {
    pub(crate) bundle: Bundle,
    pub(crate) key: TunnelKey,
    role: Role,
    decoder: Decoder,
    batch: Vec<Bytes>,
}

impl Pair {
    /// Two processes and one tunnel.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let (gateway, agent) = greeted(1, now);
        let (gateway, agent) = (End::new(gateway, Role::Gateway, now), End::new(agent, Role::Agent, now));
        let mut pair = Self { now, gateway, agent, epoch: 1, next_id: 1 };
        pair.settle();
        pair
    }

    /// Opens a session and has it accepted.
    pub(crate) fn open(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let key = self.gateway.key;
        self.gateway.bundle.open(key, id, OpenRequest::resource("r"), self.now).expect("room for a session");
        self.settle();
        self.agent.bundle.accept(id);
        self.settle();
        id
    }

    /// Ends a session from both ends.
    pub(crate) fn end(&mut self, id: u64) {
        for end in [&mut self.gateway, &mut self.agent] {
            end.bundle.finish(id);
        }
        self.settle();
        for end in [&mut self.gateway, &mut self.agent] {
            assert_eq!(end.bundle.recv(id, usize::MAX, self.now), Received::Finished);
            end.bundle.release(id, self.now);
        }
        self.settle();
    }

    /// Breaks the tunnel and makes another.
    pub(crate) fn replace_tunnel(&mut self) {
        self.epoch += 1;
        let (gateway, agent) = greeted(self.epoch, self.now);
        self.gateway.replace(gateway, self.now);
        self.agent.replace(agent, self.now);
    }

    /// Moves one batch each way; false when nothing moved.
    pub(crate) fn exchange(&mut self) -> bool {
        let there = self.gateway.carry(&mut self.agent, self.now);
        let back = self.agent.carry(&mut self.gateway, self.now);
        there || back
    }

    pub(crate) fn settle(&mut self) {
        while self.exchange() {}
    }
}

impl End {
    fn new(tunnel: Tunnel, role: Role, now: Instant) -> Self {
        let mut bundle = Bundle::new(Config::default(), role);
        let key = bundle.join(tunnel, now);
        Self { bundle, key, role, decoder: Decoder::new(), batch: Vec::new() }
    }

    fn replace(&mut self, tunnel: Tunnel, now: Instant) {
        self.bundle.act(self.key, now, |tunnel| tunnel.lost("cut"));
        self.events();
        self.bundle.leave(self.key);
        self.key = self.bundle.join(tunnel, now);
        self.decoder = Decoder::new();
    }

    /// Takes one batch over; the bytes are not copied.
    fn carry(&mut self, to: &mut Self, now: Instant) -> bool {
        let count = self.bundle.poll_transmit(self.key, now, BATCH, &mut self.batch);
        for piece in self.batch.drain(..) {
            to.decoder.push(piece);
            while let Some(frame) = to.decoder.next_frame().expect("frames") {
                to.bundle.handle_frame(to.key, frame, now).expect("a peer that keeps to the protocol");
            }
        }
        self.events();
        to.events();
        count > 0
    }

    fn events(&mut self) {
        self.bundle.take_touched();
        while let Some(event) = self.bundle.poll_tunnel_event(self.key) {
            assert!(!matches!(event, Event::Reset { .. }), "{:?}: {event:?}", self.role);
        }
    }
}

fn greeted(epoch: u64, now: Instant) -> (Tunnel, Tunnel) {
    let budget = Budget::default();
    let new = |role| Tunnel::new(Config::default(), role, Hello::new(1, epoch, 0), budget.clone(), now);
    let (mut gateway, mut agent) = (new(Role::Gateway), new(Role::Agent));
    greet(&mut gateway, &mut agent, now);
    greet(&mut agent, &mut gateway, now);
    (gateway, agent)
}

fn greet(from: &mut Tunnel, to: &mut Tunnel, now: Instant) {
    let (mut batch, mut decoder) = (Vec::new(), Decoder::new());
    from.poll_transmit(now, BATCH, &mut batch);
    decoder.push(batch.concat().into());
    while let Some(frame) = decoder.next_frame().expect("frames") {
        to.handle_frame(frame, now).expect("a good hello");
    }
}
