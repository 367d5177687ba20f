//! What the application does to a session, wherever that is.

use std::time::Instant;

use bytes::Bytes;

use super::{Bundle, TunnelKey};
use crate::{
    frame::{OpenRequest, OpenResult, ResetReason},
    machine::{Entry, NotSent, Received, Refusal, SessionPhase, Tunnel},
};

/// Where a session is.
enum Place<'a> {
    On(&'a mut Tunnel),
    Parked(&'a mut Entry),
    Nowhere,
}

impl Bundle {
    /// The tunnel that carries a session now.
    pub fn home(&self, id: u64) -> Option<TunnelKey> {
        self.homes.get(&id).copied()
    }

    /// Gateway: asks for a session on one tunnel, see [`Tunnel::open`].
    pub fn open(
        &mut self,
        key: TunnelKey,
        id: u64,
        request: OpenRequest,
        now: Instant,
    ) -> Result<(), Refusal> {
        let gone = Refusal { result: OpenResult::Internal, detail: "the tunnel has ended" };
        self.tunnels.get_mut(&key).ok_or(gone)?.open(id, request, now)?;
        self.homes.insert(id, key);
        Ok(())
    }

    /// Agent: see [`Tunnel::accept`].
    pub fn accept(&mut self, id: u64) {
        match self.place(id) {
            Place::On(tunnel) => tunnel.accept(id),
            Place::Parked(entry) if entry.phase == SessionPhase::Offered => entry.phase = SessionPhase::Open,
            Place::Parked(_) | Place::Nowhere => {}
        }
    }

    /// Agent: see [`Tunnel::refuse`]. While the session waits for a tunnel, nobody can be told why.
    pub fn refuse(&mut self, id: u64, result: OpenResult, detail: &str) {
        match self.place(id) {
            Place::On(tunnel) => tunnel.refuse(id, result, detail),
            Place::Parked(_) => self.parked.forget(id),
            Place::Nowhere => {}
        }
        self.homes.remove(&id);
    }

    /// See [`Tunnel::send_room`].
    pub fn send_room(&mut self, id: u64) -> Result<usize, NotSent> {
        if let Some(tunnel) = self.homes.get(&id).and_then(|key| self.tunnels.get_mut(key)) {
            return tunnel.send_room(id);
        }
        let config = &self.config;
        self.parked.get_mut(id).map_or(Err(NotSent::Gone), |entry| entry.send_room(config))
    }

    /// See [`Tunnel::send`].
    pub fn send(&mut self, id: u64, bytes: &mut Bytes) -> Result<usize, NotSent> {
        if let Some(tunnel) = self.homes.get(&id).and_then(|key| self.tunnels.get_mut(key)) {
            return tunnel.send(id, bytes);
        }
        let config = &self.config;
        self.parked.get_mut(id).map_or(Err(NotSent::Gone), |entry| entry.send(bytes, config))
    }

    /// See [`Tunnel::recv`].
    pub fn recv(&mut self, id: u64, max: usize, now: Instant) -> Received {
        match self.place(id) {
            Place::On(tunnel) => tunnel.recv(id, max, now),
            Place::Parked(entry) => entry.recv(max, now),
            Place::Nowhere => Received::Gone,
        }
    }

    /// See [`Tunnel::unacknowledged`].
    pub fn unacknowledged(&self, id: u64) -> u64 {
        match self.homes.get(&id).and_then(|key| self.tunnels.get(key)) {
            Some(tunnel) => tunnel.unacknowledged(id),
            None => self.parked.get(id).map_or(0, |entry| entry.session.unacknowledged()),
        }
    }

    /// See [`Tunnel::finish`].
    pub fn finish(&mut self, id: u64) {
        match self.place(id) {
            Place::On(tunnel) => tunnel.finish(id),
            Place::Parked(entry) => entry.session.finish(),
            Place::Nowhere => {}
        }
    }

    /// See [`Tunnel::reset`]. The peer of a session that waits learns it when a tunnel comes.
    pub fn reset(&mut self, id: u64, reason: ResetReason, detail: &str) {
        match self.place(id) {
            Place::On(tunnel) => tunnel.reset(id, reason, detail),
            Place::Parked(_) => self.parked.forget(id),
            Place::Nowhere => {}
        }
    }

    /// See [`Tunnel::release`].
    pub fn release(&mut self, id: u64, now: Instant) {
        match self.place(id) {
            Place::On(_) => {
                if let Some(key) = self.home(id) {
                    self.act(key, now, |tunnel| tunnel.release(id, now));
                    self.forget_if_empty(key);
                }
            }
            Place::Parked(entry) if entry.may_linger() => {
                entry.released = true;
                entry.session.discard_received();
            }
            Place::Parked(_) => self.parked.forget(id),
            Place::Nowhere => {}
        }
        self.homes.remove(&id);
    }

    /// The tunnel has ended, but this session can still be read to its proper end.
    pub fn outlives(&self, id: u64) -> bool {
        match self.homes.get(&id).and_then(|key| self.tunnels.get(key)) {
            Some(tunnel) => tunnel.outlives(id),
            None => self.parked.get(id).is_some_and(|entry| entry.phase == SessionPhase::Lost),
        }
    }

    pub(super) fn forget_if_empty(&mut self, key: TunnelKey) {
        if self.left.contains(&key) && self.tunnels.get(&key).is_none_or(|tunnel| tunnel.sessions() == 0) {
            self.left.remove(&key);
            self.tunnels.remove(&key);
        }
    }

    fn place(&mut self, id: u64) -> Place<'_> {
        if let Some(tunnel) = self.homes.get(&id).and_then(|key| self.tunnels.get_mut(key)) {
            return Place::On(tunnel);
        }
        self.parked.get_mut(id).map_or(Place::Nowhere, Place::Parked)
    }
}
