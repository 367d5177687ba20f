//! One caller's way to its target.
//!
//! ```text
//! caller ─▶ plan ─▶ open on the first choice ─ ok ─▶ splice until both ends are done
//!   │ nobody  ▲              │ failed, and no byte of the caller can have reached a target
//!   ▼         └── next, at most twice, within the group's retry budget
//! another gateway that has tunnels of the group, or a member that comes within a while
//!                            │ else
//!                            └─▶ the caller's connection is reset; why is logged, counted and recorded
//! ```
//!
//! What the caller says first travels with the open. A copy stays here until the target was reached, so that the next
//! member can be given the same bytes; a typed refusal means that the member gave them to nobody.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::Semaphore};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{debug, info};
use warren_core::{
    balance::{Opened, caller_key},
    id::AgentId,
    trace::TraceId,
};
use warren_tunnel::{
    OpenRequest, OpenResult, ResetReason, SessionStream,
    splice::{SpliceEnd, splice},
};

use crate::{
    metrics::{self, SessionMeters},
    neighbours::{Neighbours, Share},
    registry::{Asked, Chosen, Lease, Registry},
    sessions::{Attempt, Entry, Failure, Outcome, SessionLog, Wanted},
};

mod attempt;
mod choose;
mod early;
mod guest;
mod pass_on;
#[cfg(test)]
mod tests;

use attempt::{Failed, attempt};
use choose::Choice;
use early::{Caller, Early};
use pass_on::{Asked as Elsewhere, Taken};

/// Tries after the first.
const RETRIES_MAX: usize = 2;
/// No retry starts later than this after the caller came: it should know in the end.
const RETRY_WITHIN: Duration = Duration::from_secs(8);

/// Times and limits of sessions.
#[derive(Debug, Clone)]
pub struct DispatchLimits {
    /// How long a caller waits when no member can take it. Default 5 s.
    pub wait_for_member: Duration,
    /// How long an agent may try to reach the target. Default 5 s.
    pub open_within: Duration,
    /// What the way there and back may add. Default 1.5 s, less than the tunnel allows: when it runs out here, nobody
    /// knows what became of the open.
    pub answer_grace: Duration,
    /// Sessions at once; a caller above it is reset.
    pub sessions_max: usize,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            wait_for_member: Duration::from_secs(5),
            open_within: Duration::from_secs(5),
            answer_grace: Duration::from_millis(1_500),
            sessions_max: 100_000,
        }
    }
}

/// Carries callers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    neighbours: Neighbours,
    sessions: SessionLog,
    limits: DispatchLimits,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Callers that are on their way to a target.
    opening: TaskTracker,
    stages: Stages,
}

/// How the end of a gateway comes over its callers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stages {
    /// No member is waited for any more: it would go to another gateway, and so should the caller.
    pub(crate) drain: CancellationToken,
    /// Whoever has not reached its target is let go.
    pub(crate) stop: CancellationToken,
}

/// Why a caller gets nothing.
#[derive(Debug)]
struct Lost {
    failure: Failure,
    detail: String,
}

/// A session that has reached its target.
struct Carried {
    session: SessionStream,
    held: Held,
}

/// What a session takes for as long as it lasts.
enum Held {
    /// Of a member.
    Lease { _lease: Lease },
    /// Of the tunnel to another gateway.
    Share { _share: Share },
}

/// How an open is gone about.
#[derive(Clone, Copy)]
struct Manner {
    /// How long a member is waited for when there is none.
    patience: Duration,
    /// Whether other gateways may be asked.
    may_pass_on: bool,
    /// Of the members' answer.
    open_within: Duration,
}

impl Lost {
    fn stopping() -> Self {
        Self { failure: Failure::Stopping, detail: "gateway stops".to_owned() }
    }
}

impl Dispatcher {
    pub(crate) fn new(
        registry: Registry,
        neighbours: Neighbours,
        sessions: SessionLog,
        limits: DispatchLimits,
        stages: Stages,
    ) -> Self {
        let room = Arc::new(Semaphore::new(limits.sessions_max.min(Semaphore::MAX_PERMITS)));
        let (tasks, opening) = (TaskTracker::new(), TaskTracker::new());
        let shared = Shared { registry, neighbours, sessions, limits, room, tasks, opening, stages };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a caller over. Returns at once; the session is a task of its own.
    pub(crate) fn take(
        &self,
        caller: TcpStream,
        from: SocketAddr,
        wanted: Wanted,
        meters: Arc<SessionMeters>,
    ) {
        let shared = self.shared.clone();
        let opening = shared.opening.token();
        let entry = shared.sessions.begin(&wanted, &meters, from, rand::random());
        let Ok(permit) = shared.room.clone().try_acquire_owned() else {
            let detail = format!("gateway holds {} sessions already", shared.limits.sessions_max);
            return Shared::lose(
                caller,
                entry,
                (&wanted, &meters),
                Lost { failure: Failure::GatewayFull, detail },
            );
        };
        self.shared.tasks.spawn(async move {
            shared.carry((caller, from), entry, (wanted, meters), opening).await;
            drop(permit);
        });
    }

    /// Waits until nobody is on the way to a target; to be called when nobody new comes.
    pub(crate) async fn opened(&self) {
        self.shared.opening.close();
        self.shared.opening.wait().await;
    }

    /// Waits until no session is left.
    pub(crate) async fn finished(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    async fn carry(
        self: Arc<Self>,
        (caller, from): (TcpStream, SocketAddr),
        entry: Entry,
        (wanted, meters): (Wanted, Arc<SessionMeters>),
        opening: TaskTrackerToken,
    ) {
        let begun = Instant::now();
        let manner = Manner {
            patience: self.limits.wait_for_member,
            may_pass_on: true,
            open_within: self.limits.open_within,
        };
        // The future of an open is large; a session that is open should not keep room for it.
        let opened = tokio::select! {
            opened = Box::pin(self.open(Caller::Socket(&caller), &entry, &wanted, from, manner)) => opened,
            () = self.stages.stop.cancelled() => Err(Lost::stopping()),
        };
        drop(opening);
        match opened {
            Ok(carried) => {
                meters.opened(begun.elapsed());
                Self::splice(caller, carried, entry, (&wanted, &meters)).await;
            }
            Err(lost) => Self::lose(caller, entry, (&wanted, &meters), lost),
        }
    }

    async fn splice(
        caller: TcpStream,
        carried: Carried,
        entry: Entry,
        (wanted, meters): (&Wanted, &SessionMeters),
    ) {
        let report = splice(carried.session, caller, ResetReason::CallerGone).await;
        let (outcome, detail) = match report.end {
            SpliceEnd::Finished => (Outcome::Closed, String::new()),
            SpliceEnd::Session(cut) => (Outcome::Cut(cut.reason), cut.detail),
            SpliceEnd::Socket(error) => (Outcome::Cut(ResetReason::CallerGone), error.to_string()),
        };
        let (up, down) = (report.from_socket, report.to_socket);
        debug!(
            session = entry.id(),
            group = &*meters.label,
            resource = %wanted.resource,
            trace = %TraceId(entry.trace()),
            outcome = outcome.as_str(),
            detail,
            up,
            down,
            "session ended"
        );
        entry.end(outcome, detail);
        drop(carried.held);
    }

    /// Opens the session on the best member that takes it; without one here, on another gateway.
    async fn open(
        &self,
        caller: Caller<'_>,
        entry: &Entry,
        wanted: &Wanted,
        from: SocketAddr,
        manner: Manner,
    ) -> Result<Carried, Lost> {
        // The runtime runs last what it was woken for first. A tunnel whose end has come already should have read it before a
        // caller who came after that is sent along it: nothing goes to it then, and no try is lost. Where it has not, it looks itself.
        tokio::task::yield_now().await;
        let came = Instant::now();
        let until = came + RETRY_WITHIN;
        let group = self.registry.entry(wanted.group);
        group.first_try();
        let key = caller_key_of(from);
        let mut early = Early::default();
        let mut tried: Vec<AgentId> = Vec::new();
        let mut target_failed: Vec<AgentId> = Vec::new();
        let mut last: Option<Lost> = None;
        loop {
            let asked = Asked { resource: &wanted.resource, tried: &tried, caller: key };
            let pass_on = self.pass_on(entry, wanted, from, until);
            let choice = match tried.is_empty() {
                true => self.choose(&group, asked, manner, &pass_on).await?,
                false => match Self::choose_next(&group, asked) {
                    Ok(chosen) => Choice::Member(chosen),
                    Err(nobody) => {
                        // A target that fails through our members fails through the same ones there.
                        let may_pass_on = manner.may_pass_on && target_failed.is_empty();
                        // What led here says more than that nobody is left.
                        let lost = last.take().unwrap_or(nobody);
                        match if may_pass_on { pass_on.ask(&early).await? } else { Elsewhere::Nobody(None) } {
                            Elsewhere::Taken(taken) => Choice::Elsewhere(taken),
                            Elsewhere::Nobody(declined) => return Err(lost.and_elsewhere(declined)),
                        }
                    }
                },
            };
            let Chosen { plan, lease, name, revision } = match choice {
                Choice::Member(chosen) => chosen,
                Choice::Elsewhere(Taken { session, gateway, share }) => {
                    entry.passed_on(gateway, session.meter());
                    return Ok(Carried { session, held: Held::Share { _share: share } });
                }
            };
            let member = lease.tunnel.agent;
            entry.tries(member, name);
            let request = OpenRequest {
                deadline: manner.open_within,
                min_revision: revision,
                trace: entry.trace(),
                caller: from.to_string(),
                ..OpenRequest::resource(wanted.resource.as_str())
            };
            let within = manner.open_within + self.limits.answer_grace;
            let begun = Instant::now();
            let mut number = None;
            let outcome =
                attempt(&lease.tunnel.handle, request, &mut early, caller, (within, &mut number)).await;
            let (now, after, took) = (Instant::now(), begun - came, begun.elapsed());
            let result = outcome.as_ref().map_or_else(Failed::as_str, |_| OpenResult::Ok.as_str());
            let (candidates, rule) = (plan.records, plan.rule);
            let tried_so = Attempt { candidates, chosen: member, rule, result, after, took, number };
            let failed = match outcome {
                Ok(session) => {
                    // Others could not reach a target that can be reached: that is not its fault, but that of their ways.
                    group.reached(member, &target_failed, (&wanted.resource, revision), took, now);
                    entry.carried(tried_so, session.meter());
                    return Ok(Carried { session, held: Held::Lease { _lease: lease } });
                }
                Err(failed) => failed,
            };
            drop(lease);
            entry.attempted(tried_so);
            let trace = TraceId(entry.trace());
            debug!(session = entry.id(), %trace, %member, result, detail = %failed, "open failed");
            if failed.is_members_fault() {
                group.opened(member, Opened::Failed, now);
            } else if failed.is_targets_fault() {
                target_failed.push(member);
            }
            tried.push(member);
            let may_retry = failed.may_retry() && tried.len() <= RETRIES_MAX && now < until;
            let lost = Lost { failure: failed.failure(), detail: failed.to_string() };
            if !(may_retry && group.may_retry(now)) {
                return Err(lost);
            }
            last = Some(lost);
            metrics::retried(result);
        }
    }

    /// Resets the caller: whoever gets nothing must not take it for an empty answer.
    fn lose(caller: TcpStream, entry: Entry, (wanted, meters): (&Wanted, &SessionMeters), lost: Lost) {
        let Lost { failure, detail } = lost;
        info!(
            session = entry.id(),
            group = &*meters.label,
            resource = %wanted.resource,
            trace = %TraceId(entry.trace()),
            reason = failure.as_str(),
            detail,
            "caller reset, no session could be opened"
        );
        entry.end(Outcome::NotOpened(failure), detail);
        // If that fails, the caller is gone already.
        let _ = caller.set_zero_linger();
        drop(caller);
    }
}

/// A caller is known by its address; its port is another one each time.
fn caller_key_of(from: SocketAddr) -> u64 {
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => caller_key(&ip.octets()),
        IpAddr::V6(ip) => caller_key(&ip.octets()),
    }
}
