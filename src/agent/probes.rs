//! Looking at every resource now and then, and telling the group when a verdict changed.
//!
//! A probe is a TCP connection under the same rules as a session. Verdicts are `warren_core::judge`'s. What is told is
//! the difference between this agent's verdicts and the replicated ones, so that a proposal that was lost, overtaken
//! or wiped by a config change is simply told again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use warren_core::{
    backoff::Backoff,
    destination::Target,
    id::Name,
    judge::Evidence,
    state::{Command, RequestId, Verdict, VerdictChange},
    view::GroupView,
};
use warren_group::Group;

use crate::{config::Live, membership::current_view, metrics, targets::Targets};

mod board;

use board::Board;

/// Probes at once; further ones wait.
const PROBING_MAX: usize = 32;
/// Changes of verdict are gathered for this long.
const GATHER: Duration = Duration::from_secs(1);
/// How long one report to the group may take.
const REPORT_WITHIN: Duration = Duration::from_secs(5);

/// Probes until it is stopped.
#[derive(Debug)]
pub(crate) struct Probes {
    group: Group,
    targets: Targets,
    live: watch::Receiver<Arc<Live>>,
    view: watch::Receiver<Arc<GroupView>>,
    board: Board,
    looking: JoinSet<Look>,
}

#[derive(Debug)]
struct Look {
    name: Name,
    target: Target,
    evidence: Evidence,
    detail: String,
}

impl Probes {
    pub(crate) fn new(group: Group, targets: Targets, live: watch::Receiver<Arc<Live>>) -> Self {
        let view = group.watch();
        Self { group, targets, live, view, board: Board::default(), looking: JoinSet::new() }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut reporting = JoinSet::new();
        reporting.spawn(report(self.group.clone(), self.board.verdicts()));
        loop {
            let view = self.view.borrow_and_update().clone();
            for gone in self.board.follow(&view, Instant::now()) {
                // A gauge cannot be taken back; no number is what is left of it.
                ::metrics::gauge!(metrics::PROBE_UP, "resource" => gone.to_string()).set(f64::NAN);
            }
            drop(view);
            self.begin_due();
            let due = self.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(look) = self.looking.join_next() => {
                    if let Ok(look) = look {
                        self.judge(look);
                    }
                }
                Ok(()) = self.view.changed() => {}
                Ok(()) = self.live.changed() => self.board.look_at_all(Instant::now()),
                () = at(due) => {}
            }
        }
        reporting.shutdown().await;
    }

    fn begin_due(&mut self) {
        let within = self.live.borrow().probe_timeout;
        while self.looking.len() < PROBING_MAX
            && let Some((name, target)) = self.board.take_due(Instant::now())
        {
            let targets = self.targets.clone();
            self.looking.spawn(async move {
                let (evidence, detail) = match targets.dial(&target, within).await {
                    Ok(_) => (Evidence::Good, String::new()),
                    Err(failure) => (failure.evidence(), failure.to_string()),
                };
                Look { name, target, evidence, detail }
            });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        // With all hands busy the next look begins when one ends.
        if self.looking.len() < PROBING_MAX { self.board.next_due() } else { None }
    }

    fn judge(&mut self, look: Look) {
        let Look { name, target, evidence, detail } = look;
        let interval = self.live.borrow().probe_interval;
        let now = Instant::now();
        let changed = self.board.judge(&name, &target, evidence, &detail, interval, now, rand::random());
        match changed {
            Some(Verdict::Up) => tracing::info!(resource = %name, "resource is up"),
            Some(verdict) => {
                tracing::warn!(resource = %name, verdict = verdict.as_str(), detail, "resource is not well");
            }
            None => tracing::trace!(resource = %name, ?evidence, "probed"),
        }
        if let Some(verdict) = self.board.verdict(&name) {
            let shown = match verdict {
                Verdict::Up => 1.0,
                Verdict::Suspect => 0.5,
                Verdict::Down => 0.0,
            };
            ::metrics::gauge!(metrics::PROBE_UP, "resource" => name.to_string()).set(shown);
        }
    }
}

/// Tells the group what differs from its view, for as long as both are there.
async fn report(group: Group, mut verdicts: watch::Receiver<board::Verdicts>) {
    let mut views = group.watch();
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10), Duration::ZERO);
    loop {
        let pending = board::differences(&verdicts.borrow_and_update(), &views.borrow_and_update());
        if pending.is_empty() {
            tokio::select! {
                Ok(()) = verdicts.changed() => {}
                Ok(()) = views.changed() => {}
                else => return,
            }
            continue;
        }
        // The first change opens the time in which others join it.
        sleep(GATHER).await;
        let changes = board::differences(&verdicts.borrow(), &views.borrow());
        if changes.is_empty() {
            continue;
        }
        match tell(&group, changes).await {
            Ok(()) => backoff.connected_for(Duration::ZERO),
            Err(error) => {
                tracing::debug!(error, "verdicts not told yet");
                sleep(backoff.next_wait(rand::random())).await;
            }
        }
    }
}

async fn tell(group: &Group, changes: Vec<VerdictChange>) -> Result<(), String> {
    let author = format!("agent {}", current_view(group).me);
    let request = RequestId(rand::random());
    match group.propose(request, &author, Command::Verdicts { changes }, REPORT_WITHIN).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
