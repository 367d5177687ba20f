//! What two ends of a tunnel say to each other.
//!
//! ```text
//!  0        1        2                 4                                   8
//!  ┌────────┬────────┬─────────────────┬───────────────────────────────────┬──────────────────── ─ ─
//!  │ type   │ flags 0│ reserved 0      │ payload length                    │ session (0 = the tunnel)
//!  └────────┴────────┴─────────────────┴───────────────────────────────────┴──────────────────── ─ ─
//! ```
//! Sixteen bytes, big endian, then the payload. Frames are a byte stream: the WebSocket messages that carry them
//! may hold several, or parts of one. Flags and reserved are refused when set, so that a later version may use them.

use std::time::Duration;

use bytes::Bytes;

mod codes;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use codes::{CloseReason, FrameType, OpenResult, ResetReason, ResumeResult, SessionKind};
pub use decode::{DecodeError, Decoder};
pub use encode::{encode, encode_data_header};

/// Length of the fixed header, bytes.
pub const HEADER_LEN: usize = 16;
/// Most bytes of a session in one [`Frame::Data`].
pub const DATA_MAX: usize = 64 * 1024;
/// Longest resource name, bytes.
pub const NAME_MAX: usize = 255;
/// Longest caller description, bytes.
pub const CALLER_MAX: usize = 64;
/// Longest detail of an answer, reset, drain or close, bytes; longer text is cut when it is sent.
pub const DETAIL_MAX: usize = 256;
/// The one protocol version that this release speaks.
pub const VERSION: u16 = 1;

/// Who an end is and what it can take; the first frame in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Oldest protocol version spoken.
    pub version_min: u16,
    /// Newest protocol version spoken.
    pub version_max: u16,
    /// Bits of optional abilities; unknown bits are ignored.
    pub features: u64,
    /// Random number drawn at process start.
    pub boot: u64,
    /// Counts the connections of one boot upwards: the higher one fences the lower.
    pub epoch: u64,
    /// Which of the agent's parallel tunnels this is.
    pub slot: u16,
    /// Bytes that a new session may send before any credit.
    pub window: u32,
    /// Most bytes accepted in one data frame.
    pub max_frame: u32,
    /// Who speaks, the same after a restart: the gateway's number. Agents leave it 0, their certificate says it.
    pub place: u64,
}

impl Hello {
    /// A hello of this release. Window and frame size are filled in by the machine's configuration.
    pub fn new(boot: u64, epoch: u64, slot: u16) -> Self {
        Self {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            boot,
            epoch,
            slot,
            window: 256 * 1024,
            max_frame: DATA_MAX as u32,
            place: 0,
        }
    }
}

/// Where one end of a session stands, for the other end to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumePoint {
    /// All before it has come; sending goes on from here.
    pub received: u64,
    /// All before it has left memory, as in [`Frame::Credit`].
    pub consumed: u64,
    /// Bytes that may be sent beyond `consumed`.
    pub window: u32,
    /// The fin has come, too.
    pub finished: bool,
}

/// What a caller wants reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    pub kind: SessionKind,
    /// Name of the resource, at most [`NAME_MAX`] bytes; empty for control and echo.
    pub name: String,
    /// How long the agent may try to reach the target.
    pub deadline: Duration,
    /// Config revision that the agent must have applied at least.
    pub min_revision: u64,
    /// Trace id from ingress to target.
    pub trace: [u8; 16],
    /// Who calls, for logs and sticky policies; at most [`CALLER_MAX`] bytes.
    pub caller: String,
}

impl OpenRequest {
    /// A request for a resource, with the default deadline of 5 s.
    pub fn resource(name: impl Into<String>) -> Self {
        Self::of(SessionKind::Resource, name.into())
    }

    /// A request for the agent's control service.
    pub fn control() -> Self {
        Self::of(SessionKind::Control, String::new())
    }

    /// A request for the built-in echo.
    pub fn echo() -> Self {
        Self::of(SessionKind::Echo, String::new())
    }

    fn of(kind: SessionKind, name: String) -> Self {
        Self {
            kind,
            name,
            deadline: Duration::from_secs(5),
            min_revision: 0,
            trace: [0; 16],
            caller: String::new(),
        }
    }
}

/// One frame. Offsets count the bytes of one direction of one session from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Hello(Hello),
    Open {
        session: u64,
        request: OpenRequest,
    },
    OpenAck {
        session: u64,
        result: OpenResult,
        window: u32,
        detail: String,
    },
    Data {
        session: u64,
        offset: u64,
        bytes: Bytes,
    },
    /// All before `consumed` has left the peer's memory; up to `consumed + window` may be sent. The end counts as one more:
    /// `consumed` is the length plus one when the peer's reader has come to the fin.
    Credit {
        session: u64,
        consumed: u64,
        window: u32,
    },
    /// Nothing follows; `offset` is the length of this direction.
    Fin {
        session: u64,
        offset: u64,
    },
    Reset {
        session: u64,
        reason: ResetReason,
        detail: String,
    },
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// No new sessions, please; those that remain are cut after the deadline.
    Drain {
        deadline_ms: u32,
        detail: String,
    },
    /// The last frame of a direction.
    Close {
        reason: CloseReason,
        detail: String,
    },
    /// Gateway: this session, which a tunnel that has ended carried, goes on here.
    Resume {
        session: u64,
        point: ResumePoint,
    },
    ResumeAck {
        session: u64,
        result: ResumeResult,
        point: ResumePoint,
    },
    /// The tunnel of that epoch is given up: whatever is still on its way there is void. From the agent it asks the gateway
    /// to carry the sessions on here.
    Forsaken {
        epoch: u64,
    },
    /// Gateway: all sessions of the tunnel of that epoch that go on have been named; the others are over.
    Settled {
        epoch: u64,
    },
}

impl Frame {
    /// Name for logs and errors.
    pub fn name(&self) -> &'static str {
        self.frame_type().as_str()
    }

    /// Session that the frame is about, 0 for the tunnel.
    pub fn session(&self) -> u64 {
        match self {
            Self::Open { session, .. }
            | Self::OpenAck { session, .. }
            | Self::Data { session, .. }
            | Self::Credit { session, .. }
            | Self::Fin { session, .. }
            | Self::Reset { session, .. }
            | Self::Resume { session, .. }
            | Self::ResumeAck { session, .. } => *session,
            Self::Hello(_)
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Drain { .. }
            | Self::Close { .. }
            | Self::Forsaken { .. }
            | Self::Settled { .. } => 0,
        }
    }

    pub fn frame_type(&self) -> FrameType {
        use FrameType as T;
        match self {
            Self::Hello(_) => T::Hello,
            Self::Open { .. } => T::Open,
            Self::OpenAck { .. } => T::OpenAck,
            Self::Data { .. } => T::Data,
            Self::Credit { .. } => T::Credit,
            Self::Fin { .. } => T::Fin,
            Self::Reset { .. } => T::Reset,
            Self::Ping { .. } => T::Ping,
            Self::Pong { .. } => T::Pong,
            Self::Drain { .. } => T::Drain,
            Self::Close { .. } => T::Close,
            Self::Resume { .. } => T::Resume,
            Self::ResumeAck { .. } => T::ResumeAck,
            Self::Forsaken { .. } => T::Forsaken,
            Self::Settled { .. } => T::Settled,
        }
    }
}
