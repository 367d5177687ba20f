//! What the drivers, the handles and the streams of one bundle share.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasherDefault,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

use tokio::sync::{Notify, watch};

use super::{
    Closed, PeerDrain, SessionError, Status, keeper,
    slot::{Answer, Slot},
};
use crate::{
    frame::{OpenRequest, OpenResult, ResetReason},
    machine::{Bundle, Event, IdHasher, Liveness, Tunnel, TunnelKey},
    metrics,
};

/// The machine's clock: tokio's, so that tests can stop it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
}

/// What one tunnel shows to its handles.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) key: TunnelKey,
    /// Written by the driver alone, so that changes are seen in their order.
    pub(super) status: watch::Sender<Status>,
    /// Told when a session came in or the tunnel ended.
    pub(super) incoming: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) bundle: Bundle,
    pub(super) slots: HashMap<u64, Slot, BuildHasherDefault<IdHasher>>,
    pub(super) ends: HashMap<TunnelKey, End>,
    /// Somebody waits to expire what is parked.
    pub(super) kept: bool,
}

/// What is known of one tunnel besides its machine.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Bounded by the machine's limit of unanswered opens.
    pub(super) incoming: VecDeque<(u64, OpenRequest)>,
    pub(super) closed: Option<Closed>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    driver: Option<Waker>,
    /// When the driver wakes by itself.
    armed: Option<Instant>,
}

/// What the driver does after it has let go of the lock.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) wakers: Vec<Waker>,
    incoming: usize,
    changes: Vec<Change>,
    keep: bool,
}

#[derive(Debug)]
enum Change {
    Ready(crate::frame::Hello),
    Liveness(Liveness),
    PeerDrain(PeerDrain),
    Drained(usize),
    Closed(Closed),
}

impl Port {
    pub(super) fn new(key: TunnelKey) -> Self {
        Self { key, status: watch::channel(Status::default()).0, incoming: Notify::new() }
    }
}

impl Shared {
    pub(super) fn new(bundle: Bundle) -> Arc<Self> {
        let state = State { bundle, slots: HashMap::default(), ends: HashMap::new(), kept: false };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a tunnel in.
    pub(super) fn join(&self, tunnel: Tunnel) -> TunnelKey {
        let (key, wakers) = {
            let mut state = self.lock();
            let key = state.bundle.join(tunnel, now());
            state.ends.insert(key, End::default());
            let mut wakers = Vec::new();
            state.wake_touched(&mut wakers);
            (key, wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        key
    }

    /// Does something to one tunnel and wakes its driver if it has to act on it.
    pub(super) fn with<T>(&self, key: TunnelKey, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        let mut wakers = Vec::new();
        let driver = state.driver_to_wake(key);
        state.wake_touched(&mut wakers);
        drop(state);
        driver.into_iter().chain(wakers).for_each(Waker::wake);
        result
    }

    /// Does something to one session and wakes the driver of its tunnel if it has to act on it.
    pub(super) fn with_session<T>(&self, session: u64, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let home = state.bundle.home(session);
        let result = act(&mut state);
        let driver = home.and_then(|key| state.driver_to_wake(key));
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// Carries out what [`State::dispatch`] left to do.
    pub(super) fn finish(self: &Arc<Self>, port: &Port, aftermath: &mut Aftermath) {
        aftermath.wakers.drain(..).for_each(Waker::wake);
        for _ in 0..std::mem::take(&mut aftermath.incoming) {
            port.incoming.notify_one();
        }
        for change in aftermath.changes.drain(..) {
            let closed = matches!(change, Change::Closed(_));
            port.status.send_modify(|status| change.apply(status));
            if closed {
                // One permit for an acceptor that is about to wait, one call for those who do.
                port.incoming.notify_waiters();
                port.incoming.notify_one();
            }
        }
        if std::mem::take(&mut aftermath.keep) {
            keeper::start(self.clone());
        }
    }
}

impl State {
    /// Registers the driver to be woken.
    pub(super) fn park(&mut self, key: TunnelKey, cx: &Context<'_>) {
        let driver = &mut self.ends.entry(key).or_default().driver;
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    /// Notes when the driver wakes by itself, and what it has moved so far.
    pub(super) fn arm(&mut self, key: TunnelKey, (bytes_in, bytes_out): (u64, u64)) -> Option<Instant> {
        let next = self.bundle.tunnel(key).and_then(Tunnel::poll_timeout);
        let end = self.ends.entry(key).or_default();
        (end.bytes_in, end.bytes_out, end.armed) = (bytes_in, bytes_out, next);
        next
    }

    pub(super) fn closed(&self, key: TunnelKey) -> Option<&Closed> {
        self.ends.get(&key)?.closed.as_ref()
    }

    fn driver_to_wake(&mut self, key: TunnelKey) -> Option<Waker> {
        let tunnel = self.bundle.tunnel(key)?;
        let end = self.ends.get_mut(&key)?;
        let sooner = match (tunnel.poll_timeout(), end.armed) {
            (Some(next), Some(armed)) => next < armed,
            (next, armed) => next.is_some() && armed.is_none(),
        };
        if tunnel.has_transmit() || tunnel.has_events() || sooner { end.driver.take() } else { None }
    }

    /// Gathers the drivers of tunnels that something was done to on the way.
    pub(super) fn wake_touched(&mut self, wakers: &mut Vec<Waker>) {
        if self.bundle.has_touched() {
            for key in self.bundle.take_touched() {
                wakers.extend(self.driver_to_wake(key));
            }
        }
    }

    /// Takes one tunnel's events, and those of sessions on no tunnel: notes what sessions have to know, and gathers whom
    /// to wake.
    pub(super) fn dispatch(&mut self, key: TunnelKey, after: &mut Aftermath) {
        while let Some(event) = self.bundle.poll_tunnel_event(key) {
            self.note(key, event, after);
        }
        self.dispatch_parked(&mut after.wakers);
        self.wake_touched(&mut after.wakers);
        if self.bundle.parked() > 0 && !self.kept {
            self.kept = true;
            after.keep = true;
        }
    }

    /// Takes the events of sessions on no tunnel.
    pub(super) fn dispatch_parked(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(event) = self.bundle.poll_event() {
            self.note_session(event, wakers);
        }
    }

    fn note(&mut self, key: TunnelKey, event: Event, after: &mut Aftermath) {
        match event {
            Event::Incoming { session, request } => {
                self.slots.insert(session, Slot::default());
                self.ends.entry(key).or_default().incoming.push_back((session, request));
                after.incoming += 1;
            }
            Event::RoundTrip { rtt } => metrics::round_trip(rtt),
            Event::Ready { peer } => after.changes.push(Change::Ready(peer)),
            Event::Suspect => after.changes.push(Change::Liveness(Liveness::Suspect)),
            Event::Recovered => after.changes.push(Change::Liveness(Liveness::Alive)),
            Event::PeerDraining { deadline, detail } => {
                let at = tokio::time::Instant::now() + deadline;
                after.changes.push(Change::PeerDrain(PeerDrain { deadline: at.into_std(), detail }));
            }
            Event::Drained { cut } => after.changes.push(Change::Drained(cut)),
            Event::Closed { reason, detail, by_peer } => {
                let closed = Closed { reason, detail, by_peer };
                // What came in and was not accepted yet may go on elsewhere, and can still be accepted.
                self.ends.entry(key).or_default().closed = Some(closed.clone());
                after.changes.push(Change::Closed(closed));
            }
            session => self.note_session(session, &mut after.wakers),
        }
    }

    fn note_session(&mut self, event: Event, wakers: &mut Vec<Waker>) {
        match event {
            Event::Readable { session } => {
                wakers.extend(self.slots.get_mut(&session).and_then(|slot| slot.reader.take()));
            }
            Event::Writable { session } => {
                wakers.extend(self.slots.get_mut(&session).and_then(|slot| slot.writer.take()));
            }
            Event::Opened { session, result, detail } => {
                metrics::opened(result);
                if let Some(slot) = self.slots.get_mut(&session) {
                    if result != OpenResult::Ok {
                        let detail = format!("not opened: {result}: {detail}");
                        let error = SessionError { reason: ResetReason::Unknown, detail, by_peer: true };
                        slot.fail(error, wakers);
                    }
                    slot.answer(Answer::Given(result, detail), wakers);
                }
            }
            Event::Reset { session, reason, detail, by_peer } => {
                metrics::reset(reason);
                if let Some(slot) = self.slots.get_mut(&session) {
                    slot.fail(SessionError { reason, detail, by_peer }, wakers);
                    slot.answer(Answer::Lost, wakers);
                }
            }
            Event::Resumed { .. } => metrics::resumed(),
            // Of tunnels, not of sessions.
            Event::Incoming { .. }
            | Event::RoundTrip { .. }
            | Event::Ready { .. }
            | Event::Suspect
            | Event::Recovered
            | Event::PeerDraining { .. }
            | Event::Drained { .. }
            | Event::Closed { .. } => {}
        }
    }

    /// Forgets a tunnel that has ended, unless sessions wait to be accepted.
    pub(super) fn forget_end(&mut self, key: TunnelKey) {
        if self.ends.get(&key).is_some_and(|end| end.closed.is_some() && end.incoming.is_empty()) {
            self.ends.remove(&key);
        }
    }

    /// The application holds the session no longer. After a rush its room is given back.
    pub(super) fn forget(&mut self, session: u64) {
        self.slots.remove(&session);
        if self.slots.is_empty() && self.slots.capacity() > 1024 {
            self.slots.shrink_to_fit();
        }
    }

    /// Why a session that the machine does not know any more is gone.
    pub(super) fn why_gone(&self, session: u64) -> SessionError {
        let known = self.slots.get(&session).and_then(|slot| slot.error.clone());
        known.unwrap_or_else(|| SessionError {
            reason: ResetReason::TunnelLost,
            detail: "the tunnel has ended".to_owned(),
            by_peer: false,
        })
    }
}

impl Change {
    fn apply(self, status: &mut Status) {
        match self {
            Self::Ready(peer) => status.peer = Some(peer),
            Self::Liveness(liveness) => status.liveness = liveness,
            Self::PeerDrain(drain) => status.peer_drain = Some(drain),
            Self::Drained(cut) => status.drained = Some(cut),
            Self::Closed(closed) => {
                status.liveness = Liveness::Dead;
                status.closed = Some(closed);
            }
        }
    }
}
