//! A gateway and an agent, joined by a wire with a latency and a clock that jumps.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::{
    budget::Budget,
    frame::{Decoder, Frame, Hello, OpenRequest, OpenResult, encode},
    machine::{Config, Event, ProtocolError, Received, Role, Tunnel},
};

pub(super) const BATCH: usize = 128 * 1024;

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) gateway: End,
    pub(super) agent: End,
    pub(super) latency: Duration,
}

pub(super) struct End {
    pub(super) tunnel: Tunnel,
    pub(super) budget: Budget,
    pub(super) events: VecDeque<Event>,
    pub(super) fault: Option<ProtocolError>,
    decoder: Decoder,
    /// What is on its way to this end.
    wire: VecDeque<(Instant, Bytes)>,
    /// Nothing that this end sends arrives.
    pub(super) muted: bool,
}

impl Pair {
    /// Two ends that have greeted each other.
    pub(super) fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    pub(super) fn with(gateway: Config, agent: Config) -> Self {
        let mut pair = Self::strangers(gateway, agent);
        pair.settle();
        assert!(pair.gateway.tunnel.is_ready() && pair.agent.tunnel.is_ready());
        pair.gateway.events.clear();
        pair.agent.events.clear();
        pair
    }

    /// Two ends that have not spoken yet.
    pub(super) fn strangers(gateway: Config, agent: Config) -> Self {
        let now = Instant::now();
        Self {
            now,
            gateway: End::new(gateway, Role::Gateway, now),
            agent: End::new(agent, Role::Agent, now),
            latency: Duration::ZERO,
        }
    }

    /// Moves one batch each way; false when nothing moved.
    pub(super) fn exchange(&mut self) -> bool {
        let (now, at) = (self.now, self.now + self.latency);
        let mut moved = false;
        let mut carry = |from: &mut End, to: &mut End| {
            let mut batch = Vec::new();
            from.tunnel.poll_transmit(now, BATCH, &mut batch);
            moved |= !batch.is_empty();
            if !from.muted {
                to.wire.extend(batch.into_iter().map(|piece| (at, piece)));
            }
        };
        carry(&mut self.gateway, &mut self.agent);
        carry(&mut self.agent, &mut self.gateway);
        for end in [&mut self.gateway, &mut self.agent] {
            while end.wire.front().is_some_and(|(at, _)| *at <= now) {
                let (_, piece) = end.wire.pop_front().unwrap();
                moved = true;
                end.deliver(piece, now);
            }
            end.collect();
        }
        moved
    }

    /// Exchanges until nothing moves at this instant.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.exchange() {
                return;
            }
        }
        panic!("the ends never stop talking");
    }

    /// Lets `time` pass, stopping wherever a timer or a delivery is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let ends = [&self.gateway, &self.agent];
            let timers = ends.iter().filter_map(|end| end.tunnel.poll_timeout());
            let arrivals = ends.iter().filter_map(|end| end.wire.front().map(|(at, _)| *at));
            let next = timers.chain(arrivals).min().unwrap_or(end).min(end);
            if self.now >= end && next >= end {
                return;
            }
            self.now = next.max(self.now + Duration::from_nanos(1));
            for end in [&mut self.gateway, &mut self.agent] {
                end.tunnel.handle_timeout(self.now);
                end.collect();
            }
        }
    }

    /// Opens session `id` and has the agent accept it.
    pub(super) fn open(&mut self, id: u64) {
        self.gateway.tunnel.open(id, OpenRequest::resource("db"), self.now).unwrap();
        self.settle();
        self.agent.tunnel.accept(id);
        self.settle();
        assert!(
            matches!(self.agent.events.pop_front(), Some(Event::Incoming { session, .. }) if session == id)
        );
        let opened = Event::Opened { session: id, result: OpenResult::Ok, detail: String::new() };
        assert_eq!(self.gateway.events.pop_front(), Some(opened));
    }

    /// A frame from outside, as if the gateway (or the agent) had sent it.
    pub(super) fn inject_to_agent(&mut self, frame: &Frame) {
        self.agent.inject(frame, self.now);
    }

    pub(super) fn inject_to_gateway(&mut self, frame: &Frame) {
        self.gateway.inject(frame, self.now);
    }
}

impl End {
    fn new(config: Config, role: Role, now: Instant) -> Self {
        let budget = Budget::new(config.budget);
        let tunnel = Tunnel::new(config, role, Hello::new(1, 1, 0), budget.clone(), now);
        let (decoder, wire) = (Decoder::new(), VecDeque::new());
        Self { tunnel, budget, events: VecDeque::new(), fault: None, decoder, wire, muted: false }
    }

    pub(super) fn inject(&mut self, frame: &Frame, now: Instant) {
        let mut bytes = BytesMut::new();
        encode(frame, &mut bytes);
        self.deliver(bytes.freeze(), now);
        self.collect();
    }

    fn deliver(&mut self, piece: Bytes, now: Instant) {
        self.decoder.push(piece);
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(fault) = self.tunnel.handle_frame(frame, now) {
                        self.fault.get_or_insert(fault);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.tunnel.fail(&error.into());
                    return;
                }
            }
        }
    }

    pub(super) fn collect(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            if !matches!(event, Event::RoundTrip { .. }) {
                self.events.push_back(event);
            }
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn send(&mut self, id: u64, bytes: impl Into<Bytes>) -> usize {
        self.tunnel.send(id, &mut bytes.into()).unwrap()
    }

    /// Reads all that is there.
    pub(super) fn read(&mut self, id: u64, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while let Received::Bytes(bytes) = self.tunnel.recv(id, usize::MAX, now) {
            out.extend_from_slice(&bytes);
        }
        out
    }

    pub(super) fn is_finished(&mut self, id: u64, now: Instant) -> bool {
        self.tunnel.recv(id, usize::MAX, now) == Received::Finished
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        self.collect();
        self.events.drain(..).collect()
    }

    /// The frames of the next batch.
    pub(super) fn batch(&mut self, now: Instant) -> Vec<Frame> {
        let mut out = Vec::new();
        self.tunnel.poll_transmit(now, BATCH, &mut out);
        let mut decoder = Decoder::new();
        decoder.push(out.concat().into());
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }
}

/// Payload bytes by session.
pub(super) fn by_session(frames: &[Frame]) -> BTreeMap<u64, usize> {
    let mut sums = BTreeMap::new();
    for frame in frames {
        if let Frame::Data { session, bytes, .. } = frame {
            *sums.entry(*session).or_default() += bytes.len();
        }
    }
    sums
}
