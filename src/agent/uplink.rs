//! The agent's tunnels: carries out what `warren_core::uplink` decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warren_core::uplink::{Command, Ending, Uplink as Machine};
use warren_tunnel::{Bundles, CloseReason, Handle, dial::Connector};

use crate::{config::GatewayUrl, control::Desk, inspection::GatewayTls, metrics, sessions::Sessions};

mod tunnel;

use tunnel::{Event, News, Tunnel};

/// Tunnels speak HTTP/1.1 until they are upgraded.
pub(crate) const ALPN: &[&str] = &["http/1.1"];
/// News on the way from the tunnels; a tunnel has at most a handful in its life, and waits when this is full.
const NEWS_MAX: usize = 64;

/// What the rest of the agent may know of the tunnels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UplinkStatus {
    /// Tunnels through which a gateway has carried data.
    pub(crate) verified: usize,
    /// A gateway said that this agent's identity is revoked.
    pub(crate) revoked: bool,
    /// The last dial ended at a proxy that did not let it through.
    pub(crate) barred: bool,
}

/// All that a tunnel needs to be made and served.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    pub(crate) gateways: Vec<GatewayUrl>,
    pub(crate) connector: Arc<dyn Connector>,
    /// Must ask for [`ALPN`] and show the agent's certificate.
    pub(crate) tls: GatewayTls,
    pub(crate) sessions: Sessions,
    pub(crate) desk: Desk,
    pub(crate) bundles: Bundles,
    /// Grows from one start of an agent to the next, so that the newer of two processes with one identity is known.
    pub(crate) boot: u64,
}

/// The tunnels that are connected, to drain and close them.
#[derive(Debug, Clone)]
pub(crate) struct Tunnels {
    connected: Arc<Mutex<BTreeMap<u64, Handle>>>,
    bundles: Bundles,
}

impl Tunnels {
    /// Tells every gateway that this agent takes nothing new, waits for the sessions that there are, also for those that are
    /// on no tunnel, and cuts what is open at `deadline`. Gives the number cut. No tunnel may be made meanwhile.
    pub(crate) async fn drain(&self, deadline: Duration, detail: &str) -> usize {
        let until = tokio::time::Instant::now() + deadline;
        let handles = self.all();
        let drains = handles.iter().map(|handle| handle.drain(deadline, detail));
        let cut: usize = futures_util::future::join_all(drains).await.into_iter().sum();
        cut + self.bundles.drain(until).await
    }

    /// Closes every tunnel and waits until the gateways know, at most `within`.
    pub(crate) async fn close(&self, within: Duration) {
        let handles = self.all();
        handles.iter().for_each(|handle| handle.close(CloseReason::Shutdown, "agent stops"));
        let closed = futures_util::future::join_all(handles.iter().map(Handle::closed));
        // What does not close in time closes with the process.
        let _ = tokio::time::timeout(within, closed).await;
    }

    fn all(&self) -> Vec<Handle> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Handle>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an agent's tunnels up until it is stopped.
#[derive(Debug)]
pub(crate) struct Uplink {
    wiring: Wiring,
    machine: Machine,
    tunnels: Tunnels,
    tasks: TaskTracker,
    barred: bool,
    status: watch::Sender<UplinkStatus>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

impl Uplink {
    pub(crate) fn new(wiring: Wiring, slots: usize) -> (Self, Tunnels, watch::Receiver<UplinkStatus>) {
        let (status, seen) = watch::channel(UplinkStatus::default());
        let tunnels = Tunnels { connected: Arc::default(), bundles: wiring.bundles.clone() };
        let machine = Machine::new(slots, wiring.gateways.len(), Instant::now());
        let tasks = TaskTracker::new();
        let news = mpsc::channel(NEWS_MAX);
        let uplink = Self { wiring, machine, tunnels: tunnels.clone(), tasks, barred: false, status, news };
        (uplink, tunnels, seen)
    }

    /// Serves until `stop`; the tunnels themselves are closed by [`Tunnels::close`]. `renewed` tells of new certificates.
    pub(crate) async fn run(mut self, mut renewed: mpsc::Receiver<()>, stop: CancellationToken) {
        self.machine.handle_timeout(Instant::now());
        loop {
            while let Some(command) = self.machine.poll_command() {
                self.execute(command);
            }
            self.publish();
            let due = self.machine.poll_timeout();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(news) = self.news.1.recv() => self.hear(news),
                Some(()) = renewed.recv() => self.machine.credential_changed(Instant::now()),
                () = at(due) => {}
            }
            self.machine.handle_timeout(Instant::now());
        }
        self.machine.stop();
    }

    fn execute(&self, command: Command) {
        match command {
            Command::Dial { slot, gateway, epoch } => {
                let tunnel = Tunnel {
                    slot,
                    epoch,
                    gateway: self.wiring.gateways[gateway].clone(),
                    wiring: self.wiring.clone(),
                    tunnels: self.tunnels.clone(),
                    news: self.news.0.clone(),
                };
                self.tasks.spawn(tunnel.run());
            }
            Command::Release { slot, epoch } => {
                tracing::info!(slot, epoch, "tunnel moved to a gateway that had none");
                if let Some(handle) = self.tunnels.lock().get(&epoch) {
                    handle.close(CloseReason::Recycled, "tunnel moved to another gateway");
                }
            }
            Command::Recycle { slot, epoch } => {
                tracing::warn!(slot, epoch, "gateway took the tunnel and never used it, making another");
                if let Some(handle) = self.tunnels.lock().get(&epoch) {
                    handle.close(CloseReason::NotAlive, "tunnel was never used");
                }
            }
        }
    }

    fn hear(&mut self, News { slot, epoch, event }: News) {
        let (now, random) = (Instant::now(), rand::random());
        match event {
            Event::Connected => {
                self.barred = false;
                self.machine.connected(slot, epoch, now);
            }
            Event::Verified => self.machine.verified(slot, epoch, now),
            Event::Draining => self.machine.draining(slot, epoch, now, random),
            Event::Ended { ending, detail } => {
                ::metrics::counter!(metrics::RECONNECTS_TOTAL, "reason" => ending.as_str()).increment(1);
                self.barred = ending == Ending::ProxyRefused;
                self.machine.ended(slot, epoch, ending, now, random);
                let wait = self.machine.next_dial(slot).map(|next| next.saturating_duration_since(now));
                tell(slot, ending, &detail, wait);
            }
        }
    }

    fn publish(&self) {
        let status = UplinkStatus {
            verified: self.machine.verified_count(),
            revoked: self.machine.is_revoked(),
            barred: self.barred,
        };
        let changed = self.status.send_if_modified(|known| std::mem::replace(known, status) != status);
        if changed {
            ::metrics::gauge!(metrics::TUNNELS).set(status.verified as f64);
        }
    }
}

fn tell(slot: usize, ending: Ending, detail: &str, wait: Option<Duration>) {
    match ending {
        Ending::Closed | Ending::Duplicate => {
            tracing::info!(slot, reason = %ending.as_str(), detail, ?wait, "tunnel ended");
        }
        Ending::Unreachable | Ending::Lost => {
            tracing::warn!(slot, reason = %ending.as_str(), detail, ?wait, "no tunnel, will dial again");
        }
        Ending::Revoked => tracing::error!(
            slot,
            detail,
            ?wait,
            "this agent's identity was revoked: it serves nothing until it is enrolled anew"
        ),
        Ending::Fenced => tracing::error!(
            slot,
            detail,
            ?wait,
            "another process uses this agent's identity: give each agent its own data folder"
        ),
        Ending::ProxyRefused => {
            tracing::error!(slot, detail, ?wait, "the proxy does not let this agent through");
        }
        Ending::Unauthorized | Ending::Protocol => {
            tracing::error!(slot, reason = %ending.as_str(), detail, ?wait, "gateway will not have this agent");
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
