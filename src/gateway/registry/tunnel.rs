//! One tunnel as the registry keeps it.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Instant,
};

use thiserror::Error;
use tokio::sync::watch;
use warren_core::id::{AgentId, GroupId};
use warren_identity::PeerIdentity;
use warren_tunnel::{CloseReason, Handle, Hello, Liveness, Status};

use super::TunnelObserved;

/// Tunnels that one agent may have to one gateway.
pub(crate) const SLOTS_MAX: usize = 8;

/// A verified tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Unique for the life of the process.
    pub(crate) number: u64,
    pub(crate) group: GroupId,
    pub(crate) agent: AgentId,
    pub(crate) hello: Hello,
    pub(crate) handle: Handle,
    since: Instant,
    status: watch::Receiver<Status>,
    /// Sessions on it, those being opened included.
    pub(super) sessions: AtomicU32,
}

/// Why a tunnel does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum NotAdmitted {
    #[error("agent was revoked")]
    Revoked,
    #[error("a newer connection of this agent is here already")]
    Stale,
    #[error("agent has {SLOTS_MAX} tunnels to this gateway already")]
    TooMany,
}

impl NotAdmitted {
    pub(crate) const fn close_reason(self) -> CloseReason {
        match self {
            Self::Revoked => CloseReason::Revoked,
            Self::Stale => CloseReason::Fenced,
            Self::TooMany => CloseReason::Duplicate,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Stale => "fenced",
            Self::TooMany => "too_many_tunnels",
        }
    }
}

impl Tunnel {
    pub(super) fn new(number: u64, identity: &PeerIdentity, hello: Hello, handle: Handle) -> Self {
        let status = handle.status();
        Self {
            number,
            group: identity.group,
            agent: identity.agent,
            hello,
            handle,
            since: Instant::now(),
            status,
            sessions: AtomicU32::new(0),
        }
    }

    pub(crate) fn observe(&self) -> TunnelObserved {
        let (liveness, draining) = self.state();
        let rtt = self.handle.stats().rtt;
        TunnelObserved { slot: self.hello.slot, since: self.since, liveness, rtt, draining }
    }

    /// How alive it is, and whether the agent wants nothing new on it.
    pub(super) fn state(&self) -> (Liveness, bool) {
        let status = self.status.borrow();
        let liveness = if status.closed.is_some() { Liveness::Dead } else { status.liveness };
        (liveness, status.peer_drain.is_some())
    }

    pub(super) fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }
}
