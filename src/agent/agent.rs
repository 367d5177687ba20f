//! One agent, put together: build, serve, drain.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warren_core::{
    id::{AgentId, GroupId},
    trace::Tracer,
};
use warren_group::Group;

use crate::{
    config::{AgentConfig, Live},
    departure::{self, Departure},
    membership::{self, Membership},
    peers::Listener,
    probes::Probes,
    renewal::Renewal,
    sessions::Sessions,
    uplink::{Tunnels, Uplink, UplinkStatus},
    vitals::Vitals,
};

mod build;
mod readiness;

pub use build::StartError;
pub(crate) use build::{extra_roots, read_roots};
pub use readiness::Readiness;

/// How long gateways get to hear that the tunnels close.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How long sessions get to end after the drain's deadline has cut them.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the news of what was cut gets to leave.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long the parts get to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What others may know of an agent once it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub id: AgentId,
    pub group: GroupId,
    /// `NAME` or `CUSTOMER/NAME`, for people and for metric labels.
    pub group_name: String,
    /// Where the other members reach it, `host:port`.
    pub peer: String,
}

/// An enrolled agent with its log open and its peer port bound, about to serve.
///
/// [`build`](Self::build), take [`ready`](Self::ready), [`readiness`](Self::readiness) and [`live`](Self::live) as
/// needed, then [`run`](Self::run).
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    facts: Ready,
    group: Group,
    live: watch::Sender<Arc<Live>>,
    sessions: Sessions,
    tunnels: Tunnels,
    departure: Departure,
    uplink_status: watch::Receiver<UplinkStatus>,
    readiness: readiness::Board,
    parts: Parts,
}

/// What runs beside each other once the agent serves.
#[derive(Debug)]
struct Parts {
    listener: Listener,
    uplink: Uplink,
    renewed: mpsc::Receiver<()>,
    probes: Probes,
    vitals: Vitals,
    membership: Membership,
    renewal: Renewal,
}

impl Agent {
    /// Reads or gets the identity, binds the peer port and opens the group's log. Waits for a gateway only while the
    /// agent is not enrolled, then for as long as it takes; dropping the future is safe at any time.
    /// Spans of its sessions go to `tracer`.
    pub async fn build(config: AgentConfig, tracer: Tracer) -> Result<Self, StartError> {
        build::build(config, tracer).await
    }

    /// Who it is, which is known before it serves.
    pub fn facts(&self) -> &Ready {
        &self.facts
    }

    /// Resolves once a tunnel is verified and the agent is a member of its group.
    pub fn ready(&self) -> impl Future<Output = Ready> + Send + 'static {
        let (facts, view) = (self.facts.clone(), self.group.watch());
        let mut status = self.uplink_status.clone();
        async move {
            membership::joined(view, facts.id).await;
            if status.wait_for(|status| status.verified > 0).await.is_err() {
                std::future::pending::<()>().await;
            }
            facts
        }
    }

    /// Whether the agent should count as ready, for `/readyz`.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.watch()
    }

    /// The settings that may change while the agent runs. The binary follows the log filter here.
    pub fn live(&self) -> watch::Receiver<Arc<Live>> {
        self.live.subscribe()
    }

    /// Serves until `drain`, then finishes what it has, at most until the drain's deadline; `stop` ends it at once.
    /// Each message on `reload` has the configuration file read again. The agent stays a member of its group, unless its
    /// StatefulSet has shrunk below it or its data folder holds [`LEAVE_NOTE`](crate::LEAVE_NOTE).
    pub async fn run(
        self,
        drain: CancellationToken,
        stop: CancellationToken,
        mut reload: mpsc::Receiver<()>,
    ) {
        let Self {
            config,
            facts,
            group,
            live,
            sessions,
            tunnels,
            departure,
            uplink_status,
            readiness,
            parts,
        } = self;
        let (serving, dialling, tasks) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(parts.listener.run(group.clone(), serving.clone()));
        tasks.spawn(parts.uplink.run(parts.renewed, dialling.clone()));
        tasks.spawn(parts.probes.run(dialling.clone()));
        tasks.spawn(parts.vitals.run(serving.clone()));
        tasks.spawn(parts.membership.run(dialling.clone()));
        tasks.spawn(parts.renewal.run(serving.clone()));
        tasks.spawn(readiness.clone().run(group.watch(), uplink_status, serving.clone()));
        let log_stopped = group.stopped();
        tokio::pin!(log_stopped);
        let mut log_runs = true;
        loop {
            tokio::select! {
                () = drain.cancelled() => break,
                () = stop.cancelled() => break,
                Some(()) = reload.recv() => reread(&config, &live),
                cause = &mut log_stopped, if log_runs => {
                    log_runs = false;
                    tell_log_stopped(cause);
                }
            }
        }
        readiness.drain();
        dialling.cancel();
        sessions.drain();
        let (mut cut, mut leaves) = (0, false);
        if !stop.is_cancelled() {
            let deadline = live.borrow().drain;
            tracing::info!(?deadline, sessions = *sessions.carried().borrow(), "draining");
            let finish = async {
                cut = tunnels.drain(deadline, "agent drains").await;
                // What has arrived may still be on its way to a target.
                sessions.idle().await;
            };
            let finished = async {
                tokio::select! {
                    () = finish => {}
                    () = sleep(deadline + SETTLE) => {}
                    () = stop.cancelled() => {}
                }
            };
            // Beside the sessions: edits need not wait for them. The successor is elected while this member answers.
            let resigned = stop.run_until_cancelled(group.resign());
            let leaving = departure::is_due(&departure.folder, config.kubernetes.as_ref());
            (_, _, leaves) = tokio::join!(finished, resigned, leaving);
        }
        let still_open = *sessions.carried().borrow();
        match cut.max(still_open) {
            0 => tracing::info!("stopping, no session cut"),
            cut => {
                tracing::warn!(cut, "stopping, sessions cut");
                // Closing drops what is queued, and those who were cut should hear why.
                sleep(LAST_WORDS).await;
            }
        }
        tunnels.close(CLOSE_WITHIN).await;
        if leaves {
            stop.run_until_cancelled(Box::pin(departure.leave())).await;
        }
        serving.cancel();
        tasks.close();
        let stopped = async {
            tasks.wait().await;
            group.shutdown().await;
        };
        if tokio::time::timeout(STOP_WITHIN, stopped).await.is_err() {
            tracing::warn!("not every part stopped in time");
        }
        tracing::info!(agent = %facts.id, "stopped");
    }
}

/// A broken file changes nothing.
fn reread(config: &AgentConfig, live: &watch::Sender<Arc<Live>>) {
    match config.reload() {
        Ok(reload) => {
            let changed = live.send_if_modified(|current| {
                let differs = **current != reload.live;
                if differs {
                    *current = Arc::new(reload.live);
                }
                differs
            });
            tracing::info!(changed, "configuration read again");
            if !reload.needs_restart.is_empty() {
                let keys = reload.needs_restart.join(", ");
                tracing::warn!(keys, "these settings changed and count from the next start");
            }
        }
        Err(error) => tracing::error!(%error, "configuration not taken over, the running one stays"),
    }
}

fn tell_log_stopped(cause: Option<String>) {
    // Sessions are worth more than edits: the process stays.
    let cause = cause.unwrap_or_else(|| "asked to".to_owned());
    tracing::error!(
        cause,
        "the group's log has stopped here: sessions go on under the last config, restart once mended"
    );
}

#[cfg(test)]
mod tests;
