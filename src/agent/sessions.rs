//! What gateways ask for over the tunnels: sessions to targets, the control rpc, the echo.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ::metrics::{Counter, Gauge, Histogram};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::timeout,
};
use warren_core::{
    id::Name,
    state::Revision,
    trace::{TraceId, Tracer},
    view::GroupView,
};
use warren_tunnel::{
    Incoming, OpenRequest, OpenResult, ResetReason, SessionKind,
    echo::serve_echo,
    splice::{SpliceReport, splice},
};

use crate::{
    config::Live,
    control::Desk,
    metrics,
    proof::Proof,
    spans::{Dial, End, Followed},
    targets::{DialFailure, Targets},
};

/// How long a session waits for a config change that its gateway has seen and this member has not.
const REVISION_WITHIN: Duration = Duration::from_millis(500);

/// How much is taken on at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) pending_dials: usize,
}

/// Serves what comes through any tunnel. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    targets: Targets,
    view: watch::Receiver<Arc<GroupView>>,
    live: watch::Receiver<Arc<Live>>,
    pending: Arc<Semaphore>,
    sessions_max: usize,
    /// Sessions to targets that are carried now. Those who wait are told of none, not of every one.
    carried: watch::Sender<usize>,
    draining: AtomicBool,
    meters: Meters,
    tracer: Tracer,
}

/// What every session is counted with, looked up once.
struct Meters {
    carried: Gauge,
    dial: Histogram,
    opened: Counter,
}

impl Sessions {
    pub(crate) fn new(
        targets: Targets,
        view: watch::Receiver<Arc<GroupView>>,
        live: watch::Receiver<Arc<Live>>,
        limits: Limits,
        tracer: Tracer,
    ) -> Self {
        Self(Arc::new(Inner {
            targets,
            view,
            live,
            pending: Arc::new(Semaphore::new(limits.pending_dials)),
            sessions_max: limits.sessions,
            carried: watch::Sender::new(0),
            draining: AtomicBool::new(false),
            meters: Meters::new(),
            tracer,
        }))
    }

    /// How many sessions to targets are carried. Marks a change only when there are none any more.
    pub(crate) fn carried(&self) -> watch::Receiver<usize> {
        self.0.carried.subscribe()
    }

    /// Takes no new sessions to targets from now on.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Resolves when no session is carried.
    pub(crate) async fn idle(&self) {
        // An error would mean that the sender is gone, and we hold it.
        let _ = self.0.carried.subscribe().wait_for(|carried| *carried == 0).await;
    }

    /// Begins to serve one request of the gateway with that number in a task of its own.
    pub(crate) fn serve(&self, incoming: Incoming, gateway: u64, desk: &Desk, proof: &Proof) {
        let proof = proof.clone();
        match incoming.request().kind {
            SessionKind::Control => {
                let session = incoming.accept();
                tokio::spawn(desk.clone().serve(session, proof));
            }
            SessionKind::Echo => {
                let session = incoming.accept();
                tokio::spawn(async move {
                    serve_echo(session).await;
                    proof.give();
                });
            }
            SessionKind::Resource => {
                tokio::spawn(self.clone().carry(incoming, gateway));
            }
        }
    }

    async fn carry(self, incoming: Incoming, gateway: u64) {
        let id = incoming.session();
        let trace = TraceId(incoming.request().trace);
        let followed = Followed::new(&self.0.tracer, incoming.request(), (gateway, id));
        let told = tracing::enabled!(tracing::Level::DEBUG).then(|| incoming.request().clone());
        // The future of an open is large; a session that is open should not keep room for it.
        let opened = tokio::select! {
            opened = Box::pin(self.open(&incoming, followed.as_deref())) => opened,
            () = incoming.cancelled() => {
                tracing::debug!(session = id, %trace, "caller gone before its target was reached");
                opens("cancelled").increment(1);
                if let Some(followed) = followed {
                    followed.ended(&End::cancelled());
                }
                return;
            }
        };
        let (seat, socket) = match opened {
            Ok(opened) => opened,
            Err(No { result, detail }) => {
                let resource = &*incoming.request().name;
                tracing::debug!(session = id, resource, %trace, %result, detail, "session not opened");
                opens(result.as_str()).increment(1);
                if let Some(followed) = followed {
                    followed.ended(&End::refused(result, &detail));
                }
                incoming.refuse(result, &detail);
                return;
            }
        };
        self.0.meters.opened.increment(1);
        let report = splice(incoming.accept(), socket, ResetReason::TargetReset).await;
        drop(seat);
        if let Some(request) = told {
            tell_end(id, &request, &report);
        }
        if let Some(followed) = followed {
            followed.ended(&End::of(&report));
        }
    }

    async fn open(&self, incoming: &Incoming, followed: Option<&Followed>) -> Result<(Seat, TcpStream), No> {
        let request = incoming.request();
        let busy = |detail: &str| No { result: OpenResult::Busy, detail: detail.to_owned() };
        if self.0.draining.load(Ordering::Relaxed) {
            let detail = "the agent finishes what it has".to_owned();
            return Err(No { result: OpenResult::Draining, detail });
        }
        let seat = self.take_seat().ok_or_else(|| busy("the agent carries as many sessions as it may"))?;
        let _dialling = self.0.pending.try_acquire().map_err(|_| busy("too many dials at once"))?;
        if !self.reach(request.min_revision).await {
            return Err(busy("config behind"));
        }
        let within = request.deadline.min(self.0.live.borrow().dial_timeout);
        let name: Name = request.name.parse().map_err(|_| DialFailure::Unknown(request.name.clone()))?;
        let (start, begun) = (SystemTime::now(), Instant::now());
        let dialled = self.0.targets.connect(&name, within).await;
        let took = begun.elapsed();
        if let Some(followed) = followed {
            followed.dialled(&self.dial(&name, &dialled, start, took));
        }
        let socket = dialled?;
        self.0.meters.dial.record(took);
        Ok((seat, socket))
    }

    /// What is told of a dial.
    fn dial(
        &self,
        name: &Name,
        dialled: &Result<TcpStream, DialFailure>,
        start: SystemTime,
        took: Duration,
    ) -> Dial {
        let view = self.0.view.borrow();
        let target = view.state.config.resources.get(name).map(|resource| resource.target.clone());
        let (peer, result, detail) = match dialled {
            Ok(socket) => (socket.peer_addr().ok(), OpenResult::Ok, String::new()),
            Err(failure) => (None, failure.result(), failure.to_string()),
        };
        Dial { target, peer, result, detail, start, took }
    }

    /// Whether this member has applied `revision`, or does so in a moment.
    async fn reach(&self, revision: Revision) -> bool {
        if self.0.view.borrow().state.revision >= revision {
            return true;
        }
        let mut view = self.0.view.clone();
        let reached = view.wait_for(|view| view.state.revision >= revision);
        matches!(timeout(REVISION_WITHIN, reached).await, Ok(Ok(_)))
    }

    fn take_seat(&self) -> Option<Seat> {
        let mut room = false;
        self.0.carried.send_if_modified(|carried| {
            room = *carried < self.0.sessions_max;
            *carried += usize::from(room);
            false
        });
        room.then(|| {
            self.0.meters.carried.increment(1.0);
            Seat(self.0.clone())
        })
    }
}

/// One of the sessions that may be carried at once.
#[derive(Debug)]
struct Seat(Arc<Inner>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.carried.send_if_modified(|carried| {
            *carried -= 1;
            *carried == 0
        });
        self.0.meters.carried.decrement(1.0);
    }
}

/// Why a session was not opened.
#[derive(Debug)]
struct No {
    result: OpenResult,
    detail: String,
}

impl From<DialFailure> for No {
    fn from(failure: DialFailure) -> Self {
        Self { result: failure.result(), detail: failure.to_string() }
    }
}

impl Meters {
    fn new() -> Self {
        Self {
            carried: ::metrics::gauge!(metrics::SESSIONS),
            dial: ::metrics::histogram!(metrics::DIAL_SECONDS),
            opened: opens(OpenResult::Ok.as_str()),
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

fn opens(result: &'static str) -> Counter {
    ::metrics::counter!(metrics::SESSIONS_TOTAL, "result" => result)
}

fn tell_end(session: u64, request: &OpenRequest, report: &SpliceReport) {
    tracing::debug!(
        session,
        resource = request.name,
        caller = request.caller,
        trace = %TraceId(request.trace),
        to_target = report.to_socket,
        from_target = report.from_socket,
        end = ?report.end,
        "session ended"
    );
}

#[cfg(test)]
mod tests;
