//! What is known of a member, and what may stand against it.

use crate::{
    id::AgentId,
    state::{Intent, Revision, Verdict},
};

/// What is known of one member when a session is to be opened.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub agent: AgentId,
    pub tunnels: Tunnels,
    pub intent: Intent,
    /// Last config revision that it has applied.
    pub revision: Revision,
    /// What it says of the resource.
    pub verdict: Verdict,
    pub weight: u16,
    /// 0 is the first.
    pub tier: u8,
    /// By its own account it has hardly any files or memory left.
    pub exhausted: bool,
    /// Sessions of this gateway on it, those being opened included.
    pub in_flight: u32,
    /// Whether its group counts it as a member.
    pub member: bool,
}

/// The best that a member's tunnels offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnels {
    /// At least one is verified, alive and takes sessions.
    Serving,
    /// Only such as have been silent for a while.
    Suspect,
    /// The agent said on every one that it wants no new sessions.
    Draining,
    None,
}

/// Why a member was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    NoTunnel,
    /// People or the agent itself took it out.
    Draining,
    Disabled,
    NotMember,
    /// Its tunnels are silent.
    Suspect,
    /// It has not applied the revision that the resource needs.
    Behind,
    /// It says that it cannot reach the resource.
    Down,
    /// Opens on it failed again and again; or one session tries it out after that.
    Ejected,
    /// Sessions of this gateway could not reach the resource through it, and could through others.
    Unreachable,
    /// Its tunnels come and go.
    Unsteady,
    /// It has hardly any files or memory left.
    Exhausted,
    /// A tier before its own has members for this.
    Standby,
    /// It was tried for this session already.
    Tried,
}

impl Exclusion {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTunnel => "no_tunnel",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::NotMember => "not_member",
            Self::Suspect => "suspect",
            Self::Behind => "behind",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Unreachable => "unreachable",
            Self::Unsteady => "unsteady",
            Self::Exhausted => "exhausted",
            Self::Standby => "standby",
            Self::Tried => "tried",
        }
    }

    /// Whether panic mode passes over it: what was judged may be wrong, what people want and what is not there is not.
    pub(super) const fn yields(self) -> bool {
        match self {
            Self::Suspect
            | Self::Behind
            | Self::Down
            | Self::Ejected
            | Self::Unreachable
            | Self::Unsteady
            | Self::Exhausted => true,
            Self::NoTunnel
            | Self::Draining
            | Self::Disabled
            | Self::NotMember
            | Self::Standby
            | Self::Tried => false,
        }
    }
}
