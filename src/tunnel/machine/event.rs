//! What the machine tells its driver, and what it holds against its peer.

use std::time::Duration;

use crate::{
    frame::{CloseReason, DecodeError, Hello, OpenRequest, OpenResult, ResetReason},
    session::Violation,
    websocket::WebSocketError,
};

/// Something that the driver or the application should know. Taken with [`Tunnel::poll_event`](super::Tunnel::poll_event).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer said hello and both ends speak a common version: sessions may start.
    Ready { peer: Hello },
    /// Agent: the gateway asks for a session; answer with `accept` or `refuse`.
    Incoming { session: u64, request: OpenRequest },
    /// Gateway: an open was answered. Any result but ok ends the session.
    Opened { session: u64, result: OpenResult, detail: String },
    /// A `recv` that found nothing would find something.
    Readable { session: u64 },
    /// A `send` that found no room would find some.
    Writable { session: u64 },
    /// Gateway: the session goes on, on this tunnel.
    Resumed { session: u64 },
    /// The session is over before its end.
    Reset { session: u64, reason: ResetReason, detail: String, by_peer: bool },
    /// The peer has been silent for [`Config::suspect_after`](super::Config::suspect_after).
    Suspect,
    /// The peer was heard again.
    Recovered,
    /// A ping came back.
    RoundTrip { rtt: Duration },
    /// The peer wants no new sessions and will cut what remains after the deadline.
    PeerDraining { deadline: Duration, detail: String },
    /// Our own drain is done; `cut` sessions were still open at its deadline.
    Drained { cut: usize },
    /// The tunnel carries nothing any more.
    Closed { reason: CloseReason, detail: String, by_peer: bool },
}

/// How the peer broke the protocol. Ends the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("malformed frame")]
    Decode(#[from] DecodeError),
    #[error("malformed websocket frame")]
    WebSocket(#[from] WebSocketError),
    #[error("{0} frame before the hello")]
    BeforeHello(&'static str),
    #[error("a second hello")]
    SecondHello,
    #[error("hello with {field} {value}, at least {min} needed")]
    Hello { field: &'static str, value: u32, min: u32 },
    #[error("{0} frame in the wrong direction")]
    Direction(&'static str),
    #[error("session {session}: opened again, or below the last one opened")]
    SessionReused { session: u64 },
    #[error("session {session}: {frame} frame for a session that was never opened")]
    NeverOpened { frame: &'static str, session: u64 },
    #[error("session {session}: {frame} frame before the open was answered")]
    Unanswered { frame: &'static str, session: u64 },
    #[error("session {session}: answered twice")]
    AnsweredTwice { session: u64 },
    #[error("session {session}: resumed on the tunnel that carries it")]
    ResumedInPlace { session: u64 },
    #[error("session {session}")]
    Session { session: u64, source: Violation },
    #[error("{count} opens reset before their answer within {within:?}")]
    ResetFlood { count: u32, within: Duration },
    #[error("{count} answers wait and the peer reads none")]
    AnswersUnread { count: usize },
}

impl ProtocolError {
    /// The error with its causes in one line, as the peer gets to see it.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Why an open did not even leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub result: OpenResult,
    pub detail: &'static str,
}

/// What [`Tunnel::recv`](super::Tunnel::recv) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Bytes(bytes::Bytes),
    /// Nothing yet; [`Event::Readable`] will follow.
    Nothing,
    /// The peer's direction is at its end.
    Finished,
    /// The session was reset or never was.
    Gone,
}

/// Why [`Tunnel::send`](super::Tunnel::send) takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// The direction was finished before.
    Finished,
    /// The session was reset or never was.
    Gone,
}
