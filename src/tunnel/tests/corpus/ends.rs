//! A process as a machine without sockets.

use std::{collections::BTreeSet, time::Instant};

use warren_tunnel::{
    Budget,
    frame::{Decoder, Frame, Hello},
    machine::{Bundle, Config, Event, Role, Tunnel, TunnelKey},
};

/// Most bytes in one batch.
pub(crate) const BATCH: usize = 128 * 1024;

/// One process, as far as the bundle goes.
pub(crate) struct End {
    config: Config,
    role: Role,
    pub(crate) bundle: Bundle,
    pub(crate) process: Budget,
    /// Tunnels that the bundle may still hold.
    pub(crate) keys: Vec<TunnelKey>,
    /// Opens that the application has not answered.
    pub(crate) offered: BTreeSet<u64>,
    /// Sessions that the application holds.
    pub(crate) held: BTreeSet<u64>,
}

impl End {
    pub(crate) fn new(config: Config, role: Role) -> Self {
        Self {
            bundle: Bundle::new(config.clone(), role),
            config,
            role,
            process: Budget::new(8 << 20),
            keys: Vec::new(),
            offered: BTreeSet::new(),
            held: BTreeSet::new(),
        }
    }

    /// A tunnel that has not greeted, and its hello.
    pub(crate) fn tunnel(&self, epoch: u64, now: Instant) -> (Tunnel, Frame) {
        let budget = self.process.child(self.config.budget);
        let mut tunnel = Tunnel::new(self.config.clone(), self.role, Hello::new(1, epoch, 0), budget, now);
        let mut batch = Vec::new();
        tunnel.poll_transmit(now, BATCH, &mut batch);
        let mut decoder = Decoder::new();
        decoder.push(batch.concat().into());
        let hello = decoder.next_frame().expect("a frame").expect("a hello");
        (tunnel, hello)
    }

    pub(crate) fn join(&mut self, tunnel: Tunnel, now: Instant) -> TunnelKey {
        let key = self.bundle.join(tunnel, now);
        self.keys.push(key);
        key
    }

    pub(crate) fn act(&mut self, key: TunnelKey, now: Instant, act: impl FnOnce(&mut Tunnel)) {
        self.bundle.act(key, now, act);
    }

    pub(crate) fn handle_timeouts(&mut self, now: Instant) {
        for key in self.keys.clone() {
            let due = self.bundle.tunnel(key).and_then(Tunnel::poll_timeout);
            if due.is_some_and(|at| at <= now) {
                self.bundle.handle_timeout(key, now);
            }
        }
        self.bundle.expire(now);
        let next = self.bundle.poll_expiry();
        assert!(next.is_none_or(|at| at > now), "expire leaves something that is due");
    }

    /// What has happened; tunnels that have said all are forgotten.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for key in self.keys.clone() {
            events.extend(std::iter::from_fn(|| self.bundle.poll_tunnel_event(key)));
            if self.bundle.tunnel(key).is_some_and(Tunnel::is_closed) {
                self.bundle.leave(key);
            }
        }
        events.extend(std::iter::from_fn(|| self.bundle.poll_event()));
        self.bundle.take_touched();
        self.keys.retain(|key| self.bundle.tunnel(*key).is_some());
        events
    }

    /// Sessions on tunnels, opens without an answer, sessions on none, and bytes held and promised.
    pub(crate) fn left(&self) -> [usize; 5] {
        let tunnels = || self.bundle.tunnels().map(|(_, tunnel)| tunnel);
        [
            tunnels().map(Tunnel::sessions).sum(),
            tunnels().map(Tunnel::unanswered).sum(),
            self.bundle.parked(),
            self.process.held(),
            self.process.grown(),
        ]
    }
}
