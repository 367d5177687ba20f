//! What the driver, the handles and the streams of one tunnel share.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasherDefault,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

use tokio::sync::{Notify, watch};

use super::{Closed, Meter, PeerDrain, SessionError, Status};
use crate::{
    frame::{OpenRequest, OpenResult, ResetReason},
    machine::{Event, IdHasher, Liveness, Tunnel},
    metrics,
};

/// The machine's clock: tokio's, so that tests can stop it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Written by the driver alone, so that changes are seen in their order.
    pub(super) status: watch::Sender<Status>,
    /// Told when a session came in or the tunnel ended.
    pub(super) incoming: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tunnel: Tunnel,
    /// Sessions that the application holds: as an incoming, an answer to wait for, or a stream.
    pub(super) slots: HashMap<u64, Slot, BuildHasherDefault<IdHasher>>,
    /// Bounded by the machine's limit of unanswered opens.
    pub(super) incoming: VecDeque<(u64, OpenRequest)>,
    pub(super) closed: Option<Closed>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    driver: Option<Waker>,
    /// When the driver wakes by itself.
    armed: Option<Instant>,
}

/// What the application sees of a session besides its bytes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Waits for the session to be cut.
    pub(super) watcher: Option<Waker>,
    pub(super) answer: Answer,
    pub(super) error: Option<SessionError>,
    pub(super) meter: Arc<Meter>,
}

#[derive(Debug, Default)]
pub(super) enum Answer {
    #[default]
    Pending,
    Waited(Waker),
    Given(OpenResult, String),
    Lost,
}

/// What the driver does after it has let go of the lock.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) wakers: Vec<Waker>,
    pub(super) incoming: usize,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Ready(crate::frame::Hello),
    Liveness(Liveness),
    PeerDrain(PeerDrain),
    Drained(usize),
    Closed(Closed),
}

impl Shared {
    pub(super) fn new(tunnel: Tunnel) -> Arc<Self> {
        let state = State {
            tunnel,
            slots: HashMap::default(),
            incoming: VecDeque::new(),
            closed: None,
            bytes_in: 0,
            bytes_out: 0,
            driver: None,
            armed: None,
        };
        let (status, _) = watch::channel(Status::default());
        Arc::new(Self { state: Mutex::new(state), status, incoming: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the machine and wakes the driver if it has to act on it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        let driver = state.driver_to_wake();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// Carries out what [`State::dispatch`] left to do.
    pub(super) fn finish(&self, aftermath: &mut Aftermath) {
        aftermath.wakers.drain(..).for_each(Waker::wake);
        for _ in 0..std::mem::take(&mut aftermath.incoming) {
            self.incoming.notify_one();
        }
        for change in aftermath.changes.drain(..) {
            let closed = matches!(change, Change::Closed(_));
            self.status.send_modify(|status| change.apply(status));
            if closed {
                // One permit for an acceptor that is about to wait, one call for those who do.
                self.incoming.notify_waiters();
                self.incoming.notify_one();
            }
        }
    }
}

impl State {
    /// Registers the driver to be woken.
    pub(super) fn park(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// Notes when the driver wakes by itself, and what it has moved so far.
    pub(super) fn arm(&mut self, (bytes_in, bytes_out): (u64, u64)) -> Option<Instant> {
        (self.bytes_in, self.bytes_out) = (bytes_in, bytes_out);
        self.armed = self.tunnel.poll_timeout();
        self.armed
    }

    fn driver_to_wake(&mut self) -> Option<Waker> {
        let tunnel = &self.tunnel;
        let sooner = match (tunnel.poll_timeout(), self.armed) {
            (Some(next), Some(armed)) => next < armed,
            (next, armed) => next.is_some() && armed.is_none(),
        };
        if tunnel.has_transmit() || tunnel.has_events() || sooner { self.driver.take() } else { None }
    }

    /// Takes the machine's events: notes what sessions have to know, and gathers whom to wake.
    pub(super) fn dispatch(&mut self, after: &mut Aftermath) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::Readable { session } => {
                    after.wakers.extend(self.slots.get_mut(&session).and_then(|slot| slot.reader.take()));
                }
                Event::Writable { session } => {
                    after.wakers.extend(self.slots.get_mut(&session).and_then(|slot| slot.writer.take()));
                }
                Event::Incoming { session, request } => {
                    self.slots.insert(session, Slot::default());
                    self.incoming.push_back((session, request));
                    after.incoming += 1;
                }
                Event::Opened { session, result, detail } => {
                    metrics::opened(result);
                    if let Some(slot) = self.slots.get_mut(&session) {
                        if result != OpenResult::Ok {
                            let detail = format!("not opened: {result}: {detail}");
                            let error = SessionError { reason: ResetReason::Unknown, detail, by_peer: true };
                            slot.fail(error, &mut after.wakers);
                        }
                        slot.answer(Answer::Given(result, detail), &mut after.wakers);
                    }
                }
                Event::Reset { session, reason, detail, by_peer } => {
                    metrics::reset(reason);
                    if let Some(slot) = self.slots.get_mut(&session) {
                        slot.fail(SessionError { reason, detail, by_peer }, &mut after.wakers);
                        slot.answer(Answer::Lost, &mut after.wakers);
                    }
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
                    self.closed = Some(closed.clone());
                    for (session, _) in std::mem::take(&mut self.incoming) {
                        self.forget(session);
                    }
                    after.changes.push(Change::Closed(closed));
                }
            }
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

impl Slot {
    /// Notes the first error and wakes all who wait.
    pub(super) fn fail(&mut self, error: SessionError, wakers: &mut Vec<Waker>) {
        self.error.get_or_insert(error);
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
        wakers.extend(self.watcher.take());
    }

    fn answer(&mut self, answer: Answer, wakers: &mut Vec<Waker>) {
        match &self.answer {
            Answer::Pending => self.answer = answer,
            Answer::Waited(_) => {
                if let Answer::Waited(waker) = std::mem::replace(&mut self.answer, answer) {
                    wakers.push(waker);
                }
            }
            Answer::Given(..) | Answer::Lost => {}
        }
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
