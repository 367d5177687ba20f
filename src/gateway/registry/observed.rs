//! What people and the balancer are shown of the registry: plain values, true at one moment.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use warren_core::id::{AgentId, GroupId};
use warren_tunnel::Liveness;
use warren_wire::convert::Snapshot;

/// A group as this gateway sees it.
#[derive(Debug, Clone)]
pub struct GroupObserved {
    pub group: GroupId,
    /// Its name, for people and metric labels.
    pub label: Arc<str>,
    /// What the best-informed member (highest term, then most applied) last said.
    pub view: Option<Arc<Snapshot>>,
    /// Agents that have, or lately had, a tunnel to this gateway.
    pub members: BTreeMap<AgentId, MemberObserved>,
}

/// One agent as this gateway sees it.
#[derive(Debug, Clone, Default)]
pub struct MemberObserved {
    /// Verified ones only.
    pub tunnels: Vec<TunnelObserved>,
    /// Sessions of this gateway on the agent, those being opened included.
    pub sessions: u32,
    /// What this agent last said of its group and of itself.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// One verified tunnel.
#[derive(Debug, Clone)]
pub struct TunnelObserved {
    /// Which of the agent's parallel tunnels it is.
    pub slot: u16,
    pub since: Instant,
    pub liveness: Liveness,
    pub rtt: Option<Duration>,
    /// The agent wants no new sessions on it.
    pub draining: bool,
}

impl TunnelObserved {
    /// Whether new sessions may be opened on it.
    pub fn serves(&self) -> bool {
        self.liveness == Liveness::Alive && !self.draining
    }
}

impl MemberObserved {
    /// Tunnels on which new sessions may be opened.
    pub fn serving_tunnels(&self) -> u32 {
        count(self.tunnels.iter().filter(|tunnel| tunnel.serves()))
    }

    /// Round trip of the best tunnel.
    pub fn rtt(&self) -> Option<Duration> {
        self.tunnels.iter().filter_map(|tunnel| tunnel.rtt).min()
    }
}

pub(super) fn count(things: impl Iterator) -> u32 {
    u32::try_from(things.count()).unwrap_or(u32::MAX)
}
