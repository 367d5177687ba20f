//! What the tunnel counts.

use std::time::Duration;

use metrics::{Counter, counter, histogram};
use warren_core::catalogue::{Kind, Metric};

use crate::frame::{CloseReason, OpenResult, ResetReason};

/// Bytes on the wire below TLS framing, by direction.
pub const BYTES_TOTAL: &str = "warren_tunnel_bytes_total";
/// Frames, by direction.
pub const FRAMES_TOTAL: &str = "warren_tunnel_frames_total";
/// Sessions opened or accepted, by result of the open.
pub const OPENS_TOTAL: &str = "warren_tunnel_opens_total";
/// Sessions cut, by reason.
pub const RESETS_TOTAL: &str = "warren_tunnel_resets_total";
/// Sessions that went on when their tunnel had broken.
pub const RESUMED_TOTAL: &str = "warren_tunnel_sessions_resumed_total";
/// Tunnels ended, by reason.
pub const CLOSED_TOTAL: &str = "warren_tunnel_closed_total";
/// Round trips measured by pings.
pub const RTT_SECONDS: &str = "warren_tunnel_rtt_seconds";
/// Tunnels ended because the peer broke the protocol.
pub const PROTOCOL_ERRORS_TOTAL: &str = "warren_tunnel_protocol_errors_total";

/// All metrics of this crate.
pub const CATALOGUE: &[Metric] = &[
    Metric {
        name: BYTES_TOTAL,
        kind: Kind::Counter,
        labels: &["direction"],
        help: "Bytes read from (in) and written to (out) tunnels, with all framing, before encryption.",
    },
    Metric {
        name: FRAMES_TOTAL,
        kind: Kind::Counter,
        labels: &["direction"],
        help: "Warren frames read from (in) and written to (out) tunnels.",
    },
    Metric {
        name: OPENS_TOTAL,
        kind: Kind::Counter,
        labels: &["result"],
        help: "Sessions asked for over tunnels of this process, by how the open ended.",
    },
    Metric {
        name: RESETS_TOTAL,
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Sessions cut at either end or by the loss of their tunnel, by reason.",
    },
    Metric {
        name: RESUMED_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        help: "Sessions that went on over another tunnel when theirs had broken; counted by the gateway.",
    },
    Metric {
        name: CLOSED_TOTAL,
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Tunnels that ended, by reason.",
    },
    Metric {
        name: RTT_SECONDS,
        kind: Kind::Histogram,
        labels: &[],
        help: "Round trip of a ping through a tunnel.",
    },
    Metric {
        name: PROTOCOL_ERRORS_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        help: "Tunnels closed because the peer broke the protocol.",
    },
];

/// The counters of one direction, looked up once.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) bytes: Counter,
    pub(crate) frames: Counter,
}

impl Traffic {
    /// `direction` is `in` or `out`.
    pub(crate) fn of(direction: &'static str) -> Self {
        Self {
            bytes: counter!(BYTES_TOTAL, "direction" => direction),
            frames: counter!(FRAMES_TOTAL, "direction" => direction),
        }
    }
}

pub(crate) fn opened(result: OpenResult) {
    counter!(OPENS_TOTAL, "result" => result.as_str()).increment(1);
}

pub(crate) fn reset(reason: ResetReason) {
    counter!(RESETS_TOTAL, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn resumed() {
    counter!(RESUMED_TOTAL).increment(1);
}

pub(crate) fn closed(reason: CloseReason) {
    counter!(CLOSED_TOTAL, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn protocol_error() {
    counter!(PROTOCOL_ERRORS_TOTAL).increment(1);
}

pub(crate) fn round_trip(rtt: Duration) {
    histogram!(RTT_SECONDS).record(rtt.as_secs_f64());
}
