//! All tunnels between one agent process and one gateway process, and the sessions that move between them.
//!
//! A tunnel that breaks leaves its sessions here. The gateway carries them on at once on another tunnel of the bundle, or on
//! the next that comes, or gives them up after [`Config::resume_within`]; the agent holds them until it is asked, a moment
//! longer. A tunnel that is suspect is given up as soon as another one can take its sessions.
//!
//! ```text
//!            its tunnel ended             another tunnel is there            the other end agrees
//!   on a tunnel ───────────────▶ parked ──────────────────────▶ Resuming ──────────────────────────▶ on that tunnel
//!                                  └── resume_within, the peer has restarted, or does not know it ──▶ reset
//! ```
//! What is said: see [`moving`](super::moving). Why nothing is lost or doubled: each end retains what the other has not
//! acknowledged, an ended tunnel's frames are never looked at again, and a session is on one tunnel at a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::BuildHasherDefault,
    time::Instant,
};

use bytes::Bytes;

use super::{Config, Event, IdHasher, Liveness, ProtocolError, Role, Tunnel};
use crate::frame::{CloseReason, Frame, ResetReason};

mod moves;
mod news;
mod operations;
mod parked;
mod remembered;

use news::News;
use parked::Parked;
use remembered::Remembered;

/// A tunnel of a bundle; keys are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelKey(u64);

const GIVEN_UP: &str = "the peer has given it up";

/// The pure machine of a bundle. Drive each tunnel by its key as [`Tunnel`] says; after any call other tunnels may have
/// something to send: [`Bundle::take_touched`] names them.
#[derive(Debug)]
pub struct Bundle {
    config: Config,
    role: Role,
    tunnels: BTreeMap<TunnelKey, Tunnel>,
    next_key: u64,
    /// Where each session is.
    homes: HashMap<u64, TunnelKey, BuildHasherDefault<IdHasher>>,
    parked: Parked,
    news: News,
    /// Ended tunnels whose driver has gone.
    left: BTreeSet<TunnelKey>,
    /// Agent: sessions that came to their proper end, for a gateway that missed the last word on them.
    over: Remembered,
    /// Agent: sessions that were offered to the application.
    opened: Remembered,
    touched: Vec<TunnelKey>,
    events: VecDeque<Event>,
}

impl Bundle {
    pub fn new(config: Config, role: Role) -> Self {
        Self {
            config,
            role,
            tunnels: BTreeMap::new(),
            next_key: 0,
            homes: HashMap::default(),
            parked: Parked::default(),
            news: News::default(),
            left: BTreeSet::new(),
            over: Remembered::default(),
            opened: Remembered::default(),
            touched: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes in a tunnel that is ready. Sessions that wait go on there.
    pub fn join(&mut self, mut tunnel: Tunnel, now: Instant) -> TunnelKey {
        if !self.config.resume_within.is_zero() {
            tunnel.keep_sessions();
        }
        self.next_key += 1;
        let key = TunnelKey(self.next_key);
        let forsaken = self.news.is_forsaken(tunnel.epoch());
        self.tunnels.insert(key, tunnel);
        if forsaken {
            self.act(key, now, |tunnel| tunnel.close(CloseReason::NotAlive, GIVEN_UP));
            self.touched.push(key);
        } else {
            self.give_up_suspects(now);
            self.carry_on(key);
        }
        key
    }

    /// A tunnel of this bundle. Panics when it was forgotten: keys are held by its driver and handles only.
    pub fn tunnel(&self, key: TunnelKey) -> Option<&Tunnel> {
        self.tunnels.get(&key)
    }

    pub fn tunnels(&self) -> impl Iterator<Item = (TunnelKey, &Tunnel)> {
        self.tunnels.iter().map(|(key, tunnel)| (*key, tunnel))
    }

    /// Does something to one tunnel, and what follows from it for the others.
    pub fn act<T>(&mut self, key: TunnelKey, now: Instant, act: impl FnOnce(&mut Tunnel) -> T) -> Option<T> {
        let tunnel = self.tunnels.get_mut(&key)?;
        let result = act(tunnel);
        if tunnel.has_upcalls() {
            self.answer_upcalls(key, now);
        }
        Some(result)
    }

    /// Takes one frame of the peer. An error has ended that tunnel already.
    pub fn handle_frame(&mut self, key: TunnelKey, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        let opened = if let Frame::Open { session, .. } = frame { Some(session) } else { None };
        if let Some(session) = opened.filter(|id| self.role == Role::Agent && self.is_held(*id)) {
            let error = ProtocolError::SessionReused { session };
            if self.tunnels.get(&key).is_none_or(Tunnel::is_ended) {
                return Ok(());
            }
            self.act(key, now, |tunnel| tunnel.fail(&error));
            return Err(error);
        }
        let result = self.act(key, now, |tunnel| tunnel.handle_frame(frame, now)).unwrap_or(Ok(()));
        if let Some(id) = opened.filter(|id| self.tunnels.get(&key).is_some_and(|tunnel| tunnel.holds(*id))) {
            self.opened.insert(id);
            self.homes.insert(id, key);
        }
        result
    }

    /// Whether a tunnel carries the session, or it waits for one: its id is taken.
    fn is_held(&self, id: u64) -> bool {
        self.parked.get(id).is_some() || self.tunnels.values().any(|tunnel| tunnel.holds(id))
    }

    /// Time has passed for one tunnel.
    pub fn handle_timeout(&mut self, key: TunnelKey, now: Instant) {
        self.act(key, now, |tunnel| tunnel.handle_timeout(now));
        if self.tunnels.get(&key).is_some_and(|tunnel| tunnel.liveness() == Liveness::Suspect) {
            self.give_up_suspects(now);
        }
    }

    /// The driver of an ended tunnel goes. The tunnel is forgotten as soon as none of its sessions can be read any more.
    pub fn leave(&mut self, key: TunnelKey) {
        if self.tunnels.get(&key).is_some_and(Tunnel::is_ended) {
            self.left.insert(key);
            self.forget_if_empty(key);
        }
    }

    /// Other tunnels that something was done to.
    pub fn take_touched(&mut self) -> Vec<TunnelKey> {
        std::mem::take(&mut self.touched)
    }

    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The next thing to tell of one tunnel, see [`Tunnel::poll_event`].
    pub fn poll_tunnel_event(&mut self, key: TunnelKey) -> Option<Event> {
        self.tunnels.get_mut(&key)?.poll_event()
    }

    /// The next batch of one tunnel, see [`Tunnel::poll_transmit`].
    pub fn poll_transmit(
        &mut self,
        key: TunnelKey,
        now: Instant,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> usize {
        self.act(key, now, |tunnel| tunnel.poll_transmit(now, max_bytes, out)).unwrap_or(0)
    }

    /// What happened to sessions that are on no tunnel, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn poll_expiry(&self) -> Option<Instant> {
        self.parked.next()
    }

    /// Gives up the sessions that have waited long enough.
    pub fn expire(&mut self, now: Instant) {
        while let Some((id, waiting)) = self.parked.pop_due(now) {
            let opening = waiting.entry.phase.open_deadline().is_some_and(|deadline| deadline <= now);
            let detail = if opening {
                "no tunnel came back before the open timed out".to_owned()
            } else {
                format!("no tunnel came back within {:?}", self.config.resume_within)
            };
            self.give_up(id, waiting, ResetReason::TunnelLost, &detail, now);
        }
    }

    /// The peer's process is gone for good: all tunnels end, all sessions are reset.
    pub fn peer_gone(&mut self, now: Instant) {
        let detail = "the process at the other end was started anew";
        let keys: Vec<_> = self.tunnels.keys().copied().collect();
        for key in keys {
            self.act(key, now, |tunnel| tunnel.close(CloseReason::Fenced, detail));
            self.touched.push(key);
        }
        self.give_up_waiting(ResetReason::PeerRestarted, detail, now);
    }

    /// No tunnel will come for the sessions that wait for one. Gives their number.
    pub fn give_up_waiting(&mut self, reason: ResetReason, detail: &str, now: Instant) -> usize {
        let ids = self.parked.ids();
        for id in &ids {
            if let Some(waiting) = self.parked.remove(*id) {
                self.give_up(*id, waiting, reason, detail, now);
            }
        }
        ids.len()
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty() && self.parked.is_empty()
    }

    /// Sessions that wait for a tunnel.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Sessions whose place is known, of those that the application holds.
    #[cfg(test)]
    pub(super) fn homes(&self) -> usize {
        self.homes.len()
    }
}
