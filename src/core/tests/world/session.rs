//! One caller, as the gateway's dispatch keeps it.

use warren_core::id::{AgentId, Name};

use super::{
    queue::Ms,
    tunnel::{Result, TunnelId},
};

pub(crate) const RETRIES_MAX: usize = 2;
pub(crate) const RETRY_WITHIN: Ms = 8_000;
pub(crate) const WAIT_FOR_MEMBER: Ms = 5_000;
pub(crate) const ANSWER_WITHIN: Ms = 6_500;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) gateway: usize,
    pub(crate) gateway_boot: u32,
    pub(crate) resource: Name,
    pub(crate) caller: u64,
    /// The caller speaks first: then a lost open may have reached the target.
    pub(crate) speaks: bool,
    pub(crate) begun: Ms,
    pub(crate) tried: Vec<AgentId>,
    /// Members through which the target could not be reached.
    pub(crate) missed: Vec<AgentId>,
    /// The open that is under way.
    pub(crate) on: Option<Attempt>,
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) tunnel: TunnelId,
    pub(crate) number: usize,
    pub(crate) begun: Ms,
}

/// Why an open came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Answered(Result),
    TunnelLost,
    NoAnswer,
}

/// How a session was opened, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    NoMember,
    /// The last failure; `exhausted` when it could have been tried again.
    Failed {
        failed: Failed,
        exhausted: bool,
    },
    /// The gateway died.
    Gone,
}

impl Failed {
    /// No byte of the caller can have reached a target.
    pub(crate) fn may_retry(self, speaks: bool) -> bool {
        match self {
            Self::Answered(_) => true,
            Self::TunnelLost | Self::NoAnswer => !speaks,
        }
    }

    pub(crate) fn is_members_fault(self) -> bool {
        matches!(self, Self::Answered(Result::Internal) | Self::TunnelLost | Self::NoAnswer)
    }

    pub(crate) fn is_targets_fault(self) -> bool {
        self == Self::Answered(Result::Refused)
    }
}
