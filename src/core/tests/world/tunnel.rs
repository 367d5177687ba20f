//! Tunnels and what is said on them.

use std::sync::Arc;

use warren_core::{
    id::Name,
    state::{GroupState, Revision},
    view::Word,
    vitals::Vitals,
};

/// A connection between two processes; another process or another dial is another tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TunnelId {
    pub(crate) agent: usize,
    pub(crate) boot: u32,
    pub(crate) epoch: u64,
    pub(crate) slot: usize,
    pub(crate) gateway: usize,
    pub(crate) gateway_boot: u32,
}

/// Who hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Agent,
    Gateway,
}

/// What a member tells of its group and of itself.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) word: Word,
    pub(crate) state: Arc<GroupState>,
    pub(crate) vitals: Vitals,
}

/// What came of an open, by the agent's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Result {
    Ok,
    Refused,
    Internal,
    Draining,
}

#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// The gateway took the connection.
    Welcome,
    /// The gateway has an echo carried.
    Echo,
    EchoAnswer,
    /// The gateway uses it: verified.
    Used,
    Ping,
    Said(Box<Said>),
    AgentDrains,
    GatewayDrains,
    Open {
        session: u64,
        attempt: usize,
        resource: Name,
        revision: Revision,
    },
    Answer {
        session: u64,
        attempt: usize,
        result: Result,
    },
    /// The agent needs it no longer: its sessions go on over another.
    Moves,
    /// The connection is gone.
    Reset,
}
