//! The gateway and the agent as processes: settings, log, metrics, ready file, signals around what their crates do.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    exit::Failure,
    observe::{Observer, Readiness, Serving},
    ready,
    telemetry::Telemetry,
};

mod agent;
mod flags;
mod gateway;

#[cfg(windows)]
pub(crate) use agent::run_here as agent_here;
pub(crate) use agent::{overrides_beside, run as agent};
pub(crate) use flags::{AgentArgs, GatewayArgs, SiteArgs};
pub(crate) use gateway::run as gateway;

fn clear_ready(path: Option<&Path>) -> anyhow::Result<()> {
    path.map_or(Ok(()), ready::clear)
}

fn not_ready_yet(why: &str) -> Readiness {
    Readiness { against: vec![why.to_owned()] }
}

/// Paths for readers that stand in another folder.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Serves metrics and probes if there is an address for them, and tells which port it became.
async fn observer(
    address: Option<SocketAddr>,
    telemetry: &Telemetry,
    readiness: watch::Receiver<Readiness>,
) -> Result<(Option<SocketAddr>, Option<Serving>), Failure> {
    let Some(address) = address else { return Ok((None, None)) };
    let observer = Observer::bind(address).await?;
    Ok((Some(observer.address), Some(observer.serve(telemetry.clone(), readiness))))
}

/// Passes on what a crate says of its readiness, in the words of the probes.
fn follow<T: Clone + Send + Sync + 'static>(
    mut from: watch::Receiver<T>,
    to: watch::Sender<Readiness>,
    read: impl Fn(&T) -> Readiness + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let readiness = read(&from.borrow_and_update());
            to.send_replace(readiness);
            if from.changed().await.is_err() {
                break;
            }
        }
    }))
}

/// Of the environment; an empty one counts as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}
