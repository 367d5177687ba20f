//! The conversation with an agent's control service, by gRPC over a session of its own tunnel.
//!
//! Of an agent's tunnels one carries it; when that one dies, the next takes over. What the agent says of its group goes
//! to the registry, and while it is heard the registry may propose changes through it.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};
use warren_core::id::AgentId;
use warren_tunnel::{OpenError, OpenRequest};
use warren_wire::{
    convert::{self, ConvertError, Snapshot},
    v1::{self, control_client::ControlClient},
};

use crate::{
    registry::{Registry, Tunnel},
    store::Store,
};

/// The service must be reached and have said something within this time.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);
/// Pause before another try on a tunnel that lives.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The largest snapshot: a thousand resources and their verdicts by many members.
const SNAPSHOT_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Error)]
enum ControlError {
    #[error("control session was not opened")]
    Open(#[from] OpenError),
    #[error("control session is not gRPC")]
    Connect(#[from] tonic::transport::Error),
    #[error("agent's control service failed")]
    Call(#[source] Box<tonic::Status>),
    #[error("nothing was said within {} s", FIRST_WORD_WITHIN.as_secs())]
    Silent,
    #[error("snapshot cannot be understood")]
    Snapshot(#[from] ConvertError),
    #[error("agent speaks for {0}, not for itself")]
    Impostor(AgentId),
}

impl From<tonic::Status> for ControlError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Watches the group through `tunnel` whenever it is this tunnel's turn. Never ends by itself: the tunnel's end ends it.
pub(crate) async fn keep(registry: Registry, store: Arc<dyn Store>, tunnel: Arc<Tunnel>) {
    let group = registry.entry(tunnel.group);
    loop {
        let Some(turn) = group.control_turn(tunnel.agent) else { return };
        // The semaphore is never closed.
        let Ok(_turn) = turn.acquire().await else { return };
        let ended = watch(&registry, &*store, &tunnel).await;
        group.clear_control(&tunnel);
        match ended {
            Ok(()) => debug!(member = %tunnel.agent, "control session ended"),
            Err(ControlError::Snapshot(error)) => {
                warn!(member = %tunnel.agent, error = %error, "what the agent says of its group cannot be understood");
            }
            Err(error) => {
                debug!(member = %tunnel.agent, error = &error as &dyn Error, "control session failed")
            }
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn watch(registry: &Registry, store: &dyn Store, tunnel: &Tunnel) -> Result<(), ControlError> {
    let mut client = connect(tunnel).await?;
    let first = async {
        let mut snapshots = client.watch(v1::WatchRequest {}).await?.into_inner();
        Ok::<_, ControlError>((snapshots.message().await?, snapshots))
    };
    let (mut next, mut snapshots) =
        timeout(FIRST_WORD_WITHIN, first).await.map_err(|_| ControlError::Silent)??;
    registry.entry(tunnel.group).set_control(tunnel, client);
    let (tell, told) = watch::channel(Facts::default());
    let listen = async {
        while let Some(wire) = next {
            let snapshot = convert::read_snapshot(&wire)?;
            if snapshot.member != tunnel.agent {
                return Err(ControlError::Impostor(snapshot.member));
            }
            let facts = Facts::of(&snapshot);
            registry.observe(tunnel, snapshot);
            tell.send_if_modified(|before| std::mem::replace(before, facts.clone()) != facts);
            next = snapshots.message().await?;
        }
        Ok::<_, ControlError>(())
    };
    tokio::select! {
        ended = listen => ended,
        // It ends after the other.
        () = keep_facts(registry, store, tunnel, told) => Ok(()),
    }
}

/// What the store is to know of what an agent says. It may be slow, and nobody who wants to know how the group does waits for
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    version: Option<String>,
    leader: Option<AgentId>,
}

impl Facts {
    fn of(snapshot: &Snapshot) -> Self {
        let own = snapshot.members.get(&snapshot.member);
        Self { version: own.map(|own| own.version.clone()), leader: snapshot.leader }
    }
}

async fn keep_facts(
    registry: &Registry,
    store: &dyn Store,
    tunnel: &Tunnel,
    mut told: watch::Receiver<Facts>,
) {
    let mut kept = None;
    while told.changed().await.is_ok() {
        let facts = told.borrow_and_update().clone();
        if let Some(version) = facts.version.filter(|version| kept.as_ref() != Some(version)) {
            match store.set_version(tunnel.agent, &version).await {
                Ok(()) => kept = Some(version),
                Err(error) => {
                    warn!(member = %tunnel.agent, error = &error as &dyn Error, "agent's version not recorded");
                }
            }
        }
        if let Some(leader) = facts.leader {
            keep_founded(registry, store, tunnel, leader).await;
        }
    }
}

async fn connect(tunnel: &Tunnel) -> Result<ControlClient<Channel>, ControlError> {
    let session = tunnel.handle.open(OpenRequest::control()).await?;
    // There is this one session; when it is gone, so is the channel.
    let session = Mutex::new(Some(session));
    let connector = tower::service_fn(move |_| {
        let session = session.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(session.map(TokioIo::new).ok_or_else(gone))
    });
    let endpoint = Endpoint::from_static("http://control.warren.internal");
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(ControlClient::new(channel).max_decoding_message_size(SNAPSHOT_BYTES_MAX))
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the tunnel's session is gone")
}

/// Once a leader was seen the group's log exists for good, and nobody may found it again.
async fn keep_founded(registry: &Registry, store: &dyn Store, tunnel: &Tunnel, leader: AgentId) {
    let founded = &registry.entry(tunnel.group).founded;
    if founded.load(Relaxed) {
        return;
    }
    match store.mark_founded(tunnel.group).await {
        Ok(()) => {
            founded.store(true, Relaxed);
            info!(group = %tunnel.group, %leader, "group has a leader");
        }
        Err(error) => {
            warn!(group = %tunnel.group, error = &error as &dyn Error, "founding not recorded");
        }
    }
}
