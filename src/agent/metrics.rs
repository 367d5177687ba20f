//! What an agent counts.

use warren_core::catalogue::{Kind, Metric};

pub const INFO: &str = "warren_agent_info";
pub const TUNNELS: &str = "warren_agent_tunnels";
pub const SESSIONS: &str = "warren_agent_sessions";
pub const SESSIONS_TOTAL: &str = "warren_agent_sessions_total";
pub const DIAL_SECONDS: &str = "warren_agent_dial_seconds";
pub const PROBE_UP: &str = "warren_agent_probe_up";
pub const RECONNECTS_TOTAL: &str = "warren_agent_reconnects_total";
pub const CERTIFICATE_EXPIRY: &str = "warren_agent_certificate_expiry_timestamp_seconds";
pub const DENIED_TOTAL: &str = "warren_agent_denied_total";
pub const PEERS_REFUSED_TOTAL: &str = "warren_agent_peers_refused_total";

/// All metrics of this crate.
pub const CATALOGUE: &[Metric] = &[
    Metric {
        name: INFO,
        kind: Kind::Gauge,
        labels: &["group", "member", "id"],
        help: "One, with the agent's group, name and id as labels, by which its other metrics find their group.",
    },
    Metric {
        name: TUNNELS,
        kind: Kind::Gauge,
        labels: &[],
        help: "Tunnels that a gateway has verified by carrying data through them.",
    },
    Metric { name: SESSIONS, kind: Kind::Gauge, labels: &[], help: "Sessions that the agent carries now." },
    Metric {
        name: SESSIONS_TOTAL,
        kind: Kind::Counter,
        labels: &["result"],
        help: "Sessions that the agent was asked for, by what came of the open.",
    },
    Metric {
        name: DIAL_SECONDS,
        kind: Kind::Histogram,
        labels: &[],
        help: "Time from a session's open to a connected target, name resolution included.",
    },
    Metric {
        name: PROBE_UP,
        kind: Kind::Gauge,
        labels: &["resource"],
        help: "Whether this agent judges the resource Up (1), Suspect (0.5) or Down (0).",
    },
    Metric {
        name: RECONNECTS_TOTAL,
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Tunnels that ended or did not come up, by reason.",
    },
    Metric {
        name: CERTIFICATE_EXPIRY,
        kind: Kind::Gauge,
        labels: &[],
        help: "End of the agent's certificate, seconds since the Unix epoch.",
    },
    Metric {
        name: DENIED_TOTAL,
        kind: Kind::Counter,
        labels: &["list"],
        help: "Sessions and probes denied, by whose rule (group, site).",
    },
    Metric {
        name: PEERS_REFUSED_TOTAL,
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Connections to the peer port that were refused, by reason.",
    },
];
