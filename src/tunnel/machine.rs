//! The protocol of one tunnel, without sockets, tasks or clock.
//!
//! [`Tunnel`] has four kinds of methods, to be driven in this way:
//! - **inputs**: `handle_frame` for each frame of the peer, `handle_timeout` when [`Tunnel::poll_timeout`] is reached,
//!   `lost` when the connection broke;
//! - **operations** of the application: `open`, `accept`, `refuse`, `send`, `recv`, `finish`, `reset`, `release`, `drain`,
//!   `close`;
//! - **polls**, after any of these: `poll_event` until `None`, and `poll_transmit` whenever the connection can take bytes;
//! - plain getters.
//!
//! ```text
//!              hello of the peer           close(), a protocol error,            its close has left
//!  Greeting ───────────────────▶ Ready ── silence, a deadline ─────▶ Closing ────────────────▶ Closed
//!     └──────────────────────────────────────────▲                       peer's close, lost() ─────▲
//!
//!  a session:      open / Open frame            OpenAck ok             both fins consumed, released
//!  (gateway)     ─────────────────▶ Opening ─────────────▶ Open ──────────────────────────────────▶ gone
//!  (agent)       ─────────────────▶ Offered ─ accept() ──▶ Open          reset by either end ──────▶ gone
//! ```
//! Sessions outlive their tunnel: [`Bundle`] holds the tunnels of one pair of processes and moves sessions between them.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::{Duration, Instant},
};

use crate::{
    budget::Budget,
    frame::{CloseReason, Frame, Hello, OpenResult, ResetReason, SessionKind},
    session::{CreditDue, Session},
};

mod bundle;
mod config;
mod entry;
mod event;
mod liveness;
mod moving;
mod operations;
mod receive;
#[cfg(test)]
mod tests;
mod timeouts;
mod transmit;

pub use bundle::{Bundle, TunnelKey};
pub use config::{Config, Liveness, Role};
use entry::{Entry, Lane, SessionPhase};
pub use event::{Event, NotSent, ProtocolError, Received, Refusal};
use liveness::Pulse;
use moving::Upcall;
pub(crate) use timeouts::STILL_OPEN;
use transmit::Lanes;

/// Endings of sessions that are told before a close; the close itself ends whatever they leave out.
const FAREWELLS_MAX: usize = 1024;

/// One end of a tunnel. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Tunnel {
    config: Config,
    role: Role,
    hello: Hello,
    peer: Option<Hello>,
    phase: Phase,
    budget: Budget,
    sessions: HashMap<u64, Entry, BuildHasherDefault<IdHasher>>,
    /// Highest session id ever opened here: below it an unknown id is an old one, above it a fault.
    last_opened: u64,
    /// Sessions whose open is not answered yet.
    unanswered: usize,
    /// Sessions that a drain waits for.
    resource_sessions: usize,
    open_deadlines: BTreeSet<(Instant, u64)>,
    pulse: Pulse,
    hello_by: Instant,
    /// Sessions whose peer may forget bytes, told together when `credit_at` comes.
    credit_later: Vec<u64>,
    credit_at: Option<Instant>,
    drain: Option<Drain>,
    peer_draining: bool,
    premature_resets: (Instant, u32),
    lanes: Lanes,
    frames_in: u64,
    events: VecDeque<Event>,
    /// Its sessions go on elsewhere when it breaks.
    keeps: bool,
    /// What only the bundle can do.
    upcalls: Vec<Upcall>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    Ready,
    /// The close frame waits to leave.
    Closing,
    Closed,
}

#[derive(Debug)]
struct Drain {
    at: Instant,
    done: bool,
}

impl Tunnel {
    /// A machine whose hello waits to be sent. `budget` is the one of this tunnel.
    pub fn new(config: Config, role: Role, mut hello: Hello, budget: Budget, now: Instant) -> Self {
        hello.window = config.window_initial;
        hello.max_frame = config.max_frame;
        Self {
            role,
            hello,
            peer: None,
            phase: Phase::Greeting,
            budget,
            sessions: HashMap::default(),
            last_opened: 0,
            unanswered: 0,
            resource_sessions: 0,
            open_deadlines: BTreeSet::new(),
            pulse: Pulse::new(&config, now),
            hello_by: now + config.hello_within,
            credit_later: Vec::new(),
            credit_at: None,
            drain: None,
            peer_draining: false,
            premature_resets: (now, 0),
            lanes: Lanes::new(Frame::Hello(hello)),
            frames_in: 0,
            events: VecDeque::new(),
            keeps: false,
            upcalls: Vec::new(),
            config,
        }
    }

    /// The next thing to tell, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Frames taken in and given out so far.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames_in, self.lanes.frames())
    }

    /// The peer's hello, once it came.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn liveness(&self) -> Liveness {
        if self.is_ended() { Liveness::Dead } else { self.pulse.liveness() }
    }

    /// Smoothed round trip of pings, once one came back.
    pub fn rtt(&self) -> Option<Duration> {
        self.pulse.rtt()
    }

    /// Sessions that exist, answered or not.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Opens without an answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub fn is_peer_draining(&self) -> bool {
        self.peer_draining
    }

    /// Sessions may be opened and carried.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Nothing is carried any more, though a close frame may still have to leave.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// The tunnel is gone, but this session can still be read to its proper end.
    pub fn outlives(&self, id: u64) -> bool {
        self.sessions.get(&id).is_some_and(|entry| entry.phase == SessionPhase::Lost)
    }

    /// The connection may be closed.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn insert(&mut self, id: u64, kind: SessionKind, phase: SessionPhase) {
        let send_window = self.peer.map_or(0, |peer| peer.window);
        let session = Session::new(send_window, self.config.window_initial, self.budget.clone());
        self.put(id, Entry::new(session, kind, phase));
    }

    /// Takes a session in, be it new or from another tunnel.
    fn put(&mut self, id: u64, entry: Entry) {
        if let Some(deadline) = entry.phase.open_deadline() {
            self.open_deadlines.insert((deadline, id));
        }
        self.unanswered += usize::from(entry.phase.is_unanswered());
        self.resource_sessions += usize::from(entry.kind == SessionKind::Resource);
        self.last_opened = self.last_opened.max(id);
        self.sessions.insert(id, entry);
    }

    /// Puts a session into another phase.
    fn change(&mut self, id: u64, phase: SessionPhase) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.phase, phase);
        if let Some(deadline) = before.open_deadline() {
            self.open_deadlines.remove(&(deadline, id));
        }
        if let Some(deadline) = phase.open_deadline() {
            self.open_deadlines.insert((deadline, id));
        }
        self.unanswered -= usize::from(before.is_unanswered());
        self.unanswered += usize::from(phase.is_unanswered());
    }

    /// Takes a session out, to be dropped or moved.
    fn take(&mut self, id: u64) -> Option<Entry> {
        self.sessions.get(&id)?;
        // Counted out by its phase.
        let phase = self.sessions[&id].phase;
        self.change(id, SessionPhase::Open);
        let mut entry = self.sessions.remove(&id)?;
        entry.phase = phase;
        self.resource_sessions -= usize::from(entry.kind == SessionKind::Resource);
        if self.sessions.is_empty() && self.sessions.capacity() > 1024 {
            self.sessions.shrink_to_fit();
        }
        Some(entry)
    }

    fn remove(&mut self, id: u64) {
        self.take(id);
        self.check_drained();
    }

    /// Forgets a session that is over at both ends and that nobody holds.
    fn remove_if_over(&mut self, id: u64) {
        if self.sessions.get(&id).is_some_and(|entry| entry.released && entry.session.is_over()) {
            if self.keeps && self.role == Role::Agent {
                self.upcalls.push(Upcall::Over { session: id });
            }
            self.remove(id);
        }
    }

    /// Ends a session for both the peer and the application.
    fn cut(&mut self, id: u64, reason: ResetReason, detail: &str) {
        self.lanes.push_control(Frame::Reset { session: id, reason, detail: detail.to_owned() });
        self.remove(id);
        self.events.push_back(Event::Reset {
            session: id,
            reason,
            detail: detail.to_owned(),
            by_peer: false,
        });
    }

    fn check_drained(&mut self) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| !drain.done)
            && self.resource_sessions == 0
        {
            drain.done = true;
            self.events.push_back(Event::Drained { cut: 0 });
        }
    }

    /// Ends the tunnel. Sessions go, or wait for their bundle to move them, and so does all that was queued for them. What
    /// has ended before is still told.
    fn end(&mut self, reason: CloseReason, detail: &str, by_peer: bool, say_so: bool) {
        if self.is_ended() {
            if !say_so {
                self.phase = Phase::Closed;
            }
            return;
        }
        self.phase = if say_so { Phase::Closing } else { Phase::Closed };
        let faulty = reason == CloseReason::ProtocolError;
        for id in self.lanes.opens() {
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.unasked = true;
            }
        }
        self.lanes.clear(if say_so && !faulty { FAREWELLS_MAX } else { 0 });
        let mut ids: Vec<u64> = self.sessions.keys().copied().collect();
        ids.sort_unstable();
        if self.keeps {
            if reason.keeps_sessions() {
                ids.retain(|id| self.sessions[id].kind != SessionKind::Resource);
            }
            self.upcalls.push(Upcall::Ended { reason });
        }
        if let Some(drain) = self.drain.as_mut().filter(|drain| !drain.done) {
            drain.done = true;
            let moved = self.keeps && reason.keeps_sessions();
            let cut = if moved { 0 } else { self.resource_sessions };
            self.events.push_back(Event::Drained { cut });
        }
        if say_so {
            self.lanes.push_control(Frame::Close { reason, detail: detail.to_owned() });
        }
        let cause = reason.of_sessions();
        ids.retain(|id| self.sessions[id].phase != SessionPhase::Lost);
        for session in ids {
            let keep = self.sessions.get(&session).is_some_and(|entry| !entry.released && entry.is_whole());
            if keep {
                self.change(session, SessionPhase::Lost);
            } else {
                self.remove(session);
            }
            self.events.push_back(Event::Reset {
                session,
                reason: cause,
                detail: detail.to_owned(),
                by_peer: false,
            });
        }
        self.events.push_back(Event::Closed { reason, detail: detail.to_owned(), by_peer });
    }

    /// Lists the session for a credit, if one is due and not listed yet.
    fn list_credit(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.sessions.get_mut(&id).filter(|entry| entry.phase == SessionPhase::Open) else {
            return;
        };
        let due = entry.session.credit_due();
        if due == entry.credit_listed {
            return;
        }
        match (entry.credit_listed, due) {
            (_, CreditDue::Now) => {
                entry.credit_listed = due;
                self.lanes.push_credit(id);
            }
            (CreditDue::No, CreditDue::Later) => {
                entry.credit_listed = due;
                self.credit_later.push(id);
                self.credit_at.get_or_insert(now + self.config.credit_delay);
            }
            _ => {}
        }
    }

    fn refuse_frame(&mut self, session: u64, result: OpenResult, detail: &str) {
        self.lanes.push_control(Frame::OpenAck { session, result, window: 0, detail: detail.to_owned() });
    }
}

/// Spreads ids that count upwards. They come from an authenticated gateway, so nothing has to be kept secret, and the
/// same ids give the same order in every run.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
