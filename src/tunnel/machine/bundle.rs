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
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Config, Entry, Event, IdHasher, Liveness, NotSent, ProtocolError, Received, Refusal, Role, SessionPhase,
    Tunnel, Upcall,
};
use crate::frame::{CloseReason, Frame, OpenRequest, OpenResult, ResetReason, ResumePoint, ResumeResult};

mod news;
mod parked;
mod remembered;

use news::News;
use parked::{Parked, Waiting};
use remembered::Remembered;

/// A tunnel of a bundle; keys are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelKey(u64);

/// A tunnel that spoke within this time is preferred for a move: the other may be about to become suspect.
const FRESH: Duration = Duration::from_millis(2_500);
const GIVEN_UP: &str = "the peer has given it up";
/// How much longer the agent waits than the gateway, so that the gateway decides.
const AGENT_GRACE: Duration = Duration::from_secs(5);

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
        for id in self.parked.ids() {
            if let Some(waiting) = self.parked.remove(id) {
                self.give_up(id, waiting, ResetReason::PeerRestarted, detail, now);
            }
        }
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

/// Operations on a session, wherever it is.
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

    fn forget_if_empty(&mut self, key: TunnelKey) {
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

/// Where a session is.
enum Place<'a> {
    On(&'a mut Tunnel),
    Parked(&'a mut Entry),
    Nowhere,
}

/// Moves.
impl Bundle {
    fn answer_upcalls(&mut self, key: TunnelKey, now: Instant) {
        while let Some(tunnel) = self.tunnels.get_mut(&key).filter(|tunnel| tunnel.has_upcalls()) {
            for upcall in tunnel.take_upcalls() {
                match upcall {
                    Upcall::Ended { reason } => self.ended(key, reason, now),
                    Upcall::Resume { session, point } => self.resume_here(key, session, &point, now),
                    Upcall::Forsaken { epoch } => self.forsaken(key, epoch, now),
                    Upcall::Settled { epoch } => self.settled(epoch, now),
                    Upcall::Over { session } => self.over.insert(session),
                }
            }
        }
    }

    /// Takes the sessions of a tunnel that has ended, and carries them on if another tunnel is there.
    fn ended(&mut self, key: TunnelKey, reason: CloseReason, now: Instant) {
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        let epoch = tunnel.epoch();
        let kept = if reason.keeps_sessions() { tunnel.take_kept() } else { Vec::new() };
        self.news.ended(key, epoch);
        let other = self.best(now);
        let wait = match self.role {
            Role::Gateway => self.config.resume_within,
            Role::Agent => self.config.resume_within + AGENT_GRACE,
        };
        for (id, entry) in kept {
            self.homes.remove(&id);
            let until = entry.phase.open_deadline().map_or(now + wait, |deadline| deadline.min(now + wait));
            let waiting = Waiting { entry, epoch, until };
            // The member cannot have heard of it, or nothing was said with it: another can be asked, which is better than to wait
            // for this one.
            if other.is_none() && waiting.entry.unasked {
                if !waiting.entry.released {
                    let (result, detail) =
                        (OpenResult::Internal, "the tunnel broke before the open had left");
                    self.events.push_back(Event::Opened { session: id, result, detail: detail.to_owned() });
                }
                continue;
            }
            if other.is_none() && waiting.is_unsaid_open() {
                self.give_up(id, waiting, ResetReason::TunnelLost, "the tunnel broke during the open", now);
                continue;
            }
            self.parked.insert(id, waiting);
        }
        if let Some(other) = other {
            self.carry_on(other);
        }
    }

    /// The tunnel to move sessions to, if there is one that lives.
    fn best(&self, now: Instant) -> Option<TunnelKey> {
        let fit = |tunnel: &Tunnel| tunnel.is_ready() && tunnel.liveness() == Liveness::Alive;
        let fit = self.tunnels.iter().filter(|(_, tunnel)| fit(tunnel));
        fit.min_by_key(|(key, tunnel)| {
            let stale = tunnel.silence(now) > FRESH;
            (stale, tunnel.is_peer_draining(), tunnel.sessions(), **key)
        })
        .map(|(key, _)| *key)
    }

    /// Ends every suspect tunnel, if there is one that is not.
    fn give_up_suspects(&mut self, now: Instant) {
        if self.config.resume_within.is_zero() || self.best(now).is_none() {
            return;
        }
        let suspect = |(key, tunnel): (&TunnelKey, &Tunnel)| {
            (tunnel.is_ready() && tunnel.liveness() == Liveness::Suspect).then_some(*key)
        };
        let suspects: Vec<_> = self.tunnels.iter().filter_map(suspect).collect();
        for key in suspects {
            let detail = "silent, and another tunnel carries its sessions on";
            self.act(key, now, |tunnel| tunnel.close(CloseReason::NotAlive, detail));
            self.touched.push(key);
        }
    }

    /// Says there which tunnels are given up. The gateway asks the agent to go on with all that waits, and then says that
    /// this was all: whatever else the agent still holds of those tunnels is over.
    fn carry_on(&mut self, key: TunnelKey) {
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        let epochs = self.news.tell(key);
        // First, so that no word on them that is still on its way undoes what follows.
        for epoch in &epochs {
            tunnel.say_forsaken(*epoch);
        }
        if self.role == Role::Gateway {
            for (id, Waiting { entry, .. }) in self.parked.take() {
                // Of a session that was let go, nobody asks any more.
                if !entry.released {
                    self.homes.insert(id, key);
                }
                tunnel.resume(id, entry);
            }
            epochs.into_iter().for_each(|epoch| tunnel.say_settled(epoch));
        }
        self.touched.push(key);
    }

    /// Agent: the gateway goes on with a session on this tunnel.
    fn resume_here(&mut self, key: TunnelKey, id: u64, point: &ResumePoint, now: Instant) {
        let parked = self.parked.remove(id).map(|waiting| waiting.entry);
        // The gateway may know of the other tunnel's end before we do.
        let entry = parked.or_else(|| self.tunnels.values_mut().find_map(|tunnel| tunnel.detach(id)));
        let otherwise = if self.over.contains(id) {
            ResumeResult::Over
        } else if self.opened.never_had(id) {
            ResumeResult::Unheard
        } else {
            ResumeResult::Unknown
        };
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        match entry {
            Some(entry) => {
                if !entry.released {
                    self.homes.insert(id, key);
                }
                tunnel.take_over(id, entry, point, now);
            }
            None => tunnel.decline(id, otherwise),
        }
    }

    fn forsaken(&mut self, by: TunnelKey, epoch: u64, now: Instant) {
        let given_up = |(key, tunnel): (&TunnelKey, &Tunnel)| {
            (tunnel.epoch() == epoch && *key != by && !tunnel.is_ended()).then_some(*key)
        };
        self.news.heard(epoch);
        let Some(key) = self.tunnels.iter().find_map(given_up) else { return };
        self.act(key, now, |tunnel| tunnel.close(CloseReason::NotAlive, GIVEN_UP));
        self.touched.push(key);
    }

    /// Agent: what the gateway did not name is over.
    fn settled(&mut self, epoch: u64, now: Instant) {
        for id in self.parked.ids_of(epoch) {
            if let Some(waiting) = self.parked.remove(id) {
                self.give_up(id, waiting, ResetReason::Unknown, "the gateway holds it no longer", now);
            }
        }
    }

    fn give_up(&mut self, session: u64, waiting: Waiting, reason: ResetReason, detail: &str, now: Instant) {
        self.homes.remove(&session);
        let Waiting { entry, .. } = waiting;
        let detail = detail.to_owned();
        let (released, done) = (entry.released, entry.is_done());
        let timed_out = entry.phase.open_deadline().is_some_and(|deadline| deadline <= now);
        if !released && (done || entry.is_whole()) {
            self.parked.put_aside(session, entry);
        }
        // Whoever has let go of it, or has seen both ends, misses nothing.
        if released || done {
            return;
        }
        self.events.push_back(if timed_out {
            Event::Opened { session, result: OpenResult::Timeout, detail }
        } else {
            Event::Reset { session, reason, detail, by_peer: false }
        });
    }
}
