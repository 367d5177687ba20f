//! What the gateway counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use metrics::{Counter, Histogram, counter, gauge, histogram};
use warren_core::{
    catalogue::{Kind, Metric},
    status::{GroupHealth, MemberStatus, Why},
};
use warren_tunnel::Liveness;

use crate::{
    registry::{GroupObserved, NotAdmitted, Standing},
    sessions::{OpenSessions, Outcome},
};

/// Verified tunnels.
pub const TUNNELS: &str = "warren_gateway_tunnels";
/// Members by status.
pub const MEMBERS: &str = "warren_gateway_members";
/// Whether each member takes sessions.
pub const MEMBER_SERVING: &str = "warren_gateway_member_serving";
/// The group's state.
pub const GROUP_STATE: &str = "warren_gateway_group_state";
/// Why the group is in it.
pub const GROUP_REASON: &str = "warren_gateway_group_reason";
/// Since when.
pub const GROUP_STATE_SINCE: &str = "warren_gateway_group_state_since_timestamp_seconds";
/// Sessions open or being opened.
pub const SESSIONS: &str = "warren_gateway_sessions";
/// Sessions carried for other gateways.
pub const GUESTS: &str = "warren_gateway_guests";
/// Sessions that ended, by how.
pub const SESSIONS_TOTAL: &str = "warren_gateway_sessions_total";
/// From the caller's connection to the target's acceptance.
pub const OPEN_SECONDS: &str = "warren_gateway_open_seconds";
/// Bytes of sessions.
pub const SESSION_BYTES_TOTAL: &str = "warren_gateway_session_bytes_total";
/// Opens tried again on another member.
pub const RETRIES_TOTAL: &str = "warren_gateway_retries_total";
/// Callers that were passed on to another gateway.
pub const PASSED_ON_TOTAL: &str = "warren_gateway_passed_on_total";
/// Tunnels to other gateways.
pub const NEIGHBOURS: &str = "warren_gateway_neighbours";
/// Connections, tunnels and calls that were turned away.
pub const REJECTED_TOTAL: &str = "warren_gateway_rejected_total";
/// Config revision.
pub const CONFIG_REVISION: &str = "warren_gateway_config_revision";
/// End of certificates.
pub const CERTIFICATE_EXPIRY: &str = "warren_gateway_certificate_expiry_timestamp_seconds";

/// The result of a session that came to its end.
pub(crate) const CLOSED: &str = "closed";

/// All metrics of this crate.
pub const CATALOGUE: &[Metric] = &[
    metric(TUNNELS, Kind::Gauge, &["group"], "Tunnels to this gateway that are verified and alive."),
    metric(MEMBERS, Kind::Gauge, &["group", "status"], "Agents known to this gateway, by their status."),
    metric(
        MEMBER_SERVING,
        Kind::Gauge,
        &["group", "member"],
        "1 for a member that takes sessions of this gateway, 0 for one that does not respond here; absent when people took it out, or it is stopping. It may keep its tunnels to others: ask for the maximum over all gateways.",
    ),
    metric(
        GROUP_STATE,
        Kind::Gauge,
        &["group", "state"],
        "1 for the state that the group is in: awaiting_setup, healthy, at_risk, degraded or down; 0 for the others.",
    ),
    metric(
        GROUP_REASON,
        Kind::Gauge,
        &["group", "reason"],
        "1 for the reason why the group is in its state, such as quorum_thin; 0 for the others.",
    ),
    metric(
        GROUP_STATE_SINCE,
        Kind::Gauge,
        &["group"],
        "When the group came into its state, as this gateway saw it, seconds since the Unix epoch.",
    ),
    metric(
        SESSIONS,
        Kind::Gauge,
        &["group"],
        "Sessions that are open or being opened, of callers that came to this gateway.",
    ),
    metric(
        GUESTS,
        Kind::Gauge,
        &["group"],
        "Sessions carried for callers that came to another gateway, which counts all else of them.",
    ),
    metric(
        SESSIONS_TOTAL,
        Kind::Counter,
        &["group", "result"],
        "Sessions that have ended, by how they ended or why they were never open.",
    ),
    metric(
        OPEN_SECONDS,
        Kind::Histogram,
        &["group"],
        "Time from a caller's connection until its target was reached, retries included.",
    ),
    metric(
        SESSION_BYTES_TOTAL,
        Kind::Counter,
        &["group", "direction"],
        "Bytes carried from callers to targets (up) and back (down).",
    ),
    metric(
        RETRIES_TOTAL,
        Kind::Counter,
        &["reason"],
        "Opens that were tried again on another member, by what went wrong before.",
    ),
    metric(
        PASSED_ON_TOTAL,
        Kind::Counter,
        &["result"],
        "Callers that other gateways were asked to carry because no member here could: ok when one did, else what the last one said.",
    ),
    metric(
        NEIGHBOURS,
        Kind::Gauge,
        &[],
        "Other gateways on the same store that sessions can be passed on to.",
    ),
    metric(
        REJECTED_TOTAL,
        Kind::Counter,
        &["reason"],
        "Connections, tunnels and calls of strangers that were turned away, by reason.",
    ),
    metric(
        CONFIG_REVISION,
        Kind::Gauge,
        &["group"],
        "Config revision of the group, by its best-informed member.",
    ),
    metric(
        CERTIFICATE_EXPIRY,
        Kind::Gauge,
        &["certificate"],
        "End of the authority's root and of the gateway's own certificate, seconds since the Unix epoch.",
    ),
];

/// Why a connection or a tunnel was turned away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rejected {
    /// Pushed out by newer handshakes.
    HandshakeEvicted,
    HandshakeTimeout,
    HandshakeFailed(&'static str),
    /// Nothing was asked within the deadline.
    Silent,
    /// Nobody made itself known within the time that strangers have, or newer ones pushed it out.
    Stranger,
    ConnectionsFull,
    Identity(&'static str),
    Revoked,
    UnknownAgent,
    /// A gateway that is none on this store.
    UnknownGateway,
    TunnelsFull,
    Stopping,
    Store,
    Upgrade,
    Unverified,
    NotAdmitted(NotAdmitted),
}

impl Rejected {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeEvicted => "handshake_evicted",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed(reason) | Self::Identity(reason) => reason,
            Self::Silent => "silent",
            Self::Stranger => "stranger",
            Self::ConnectionsFull => "connections_full",
            Self::Revoked => "revoked",
            Self::UnknownAgent => "unknown_agent",
            Self::UnknownGateway => "unknown_gateway",
            Self::TunnelsFull => "tunnels_full",
            Self::Stopping => "stopping",
            Self::Store => "store",
            Self::Upgrade => "upgrade",
            Self::Unverified => "unverified",
            Self::NotAdmitted(refused) => refused.as_str(),
        }
    }
}

pub(crate) fn rejected(reason: Rejected) {
    counter!(REJECTED_TOTAL, "reason" => reason.as_str()).increment(1);
}

/// A call was turned away at the door, or an enrolment refused.
pub(crate) fn refused_call(reason: &str) {
    counter!(REJECTED_TOTAL, "reason" => reason.to_owned()).increment(1);
}

pub(crate) fn retried(reason: &'static str) {
    counter!(RETRIES_TOTAL, "reason" => reason).increment(1);
}

pub(crate) fn passed_on(result: &'static str) {
    counter!(PASSED_ON_TOTAL, "result" => result).increment(1);
}

pub(crate) fn neighbours(count: usize) {
    gauge!(NEIGHBOURS).set(count as f64);
}

/// What one group's sessions are counted with, looked up once instead of for each of them.
pub(crate) struct SessionMeters {
    /// What the group is called.
    pub(crate) label: Arc<str>,
    opened: Histogram,
    /// How most sessions end.
    closed: Counter,
    up: Counter,
    down: Counter,
}

impl SessionMeters {
    pub(crate) fn of(label: Arc<str>) -> Arc<Self> {
        let group = || label.to_string();
        let bytes = |direction| counter!(SESSION_BYTES_TOTAL, "group" => group(), "direction" => direction);
        // A counter that is first seen with its first failure hides that one from every rate.
        for result in Outcome::ends() {
            counter!(SESSIONS_TOTAL, "group" => group(), "result" => result).increment(0);
        }
        Arc::new(Self {
            opened: histogram!(OPEN_SECONDS, "group" => group()),
            closed: counter!(SESSIONS_TOTAL, "group" => group(), "result" => CLOSED),
            up: bytes("up"),
            down: bytes("down"),
            label,
        })
    }

    /// A target was reached, this long after its caller came.
    pub(crate) fn opened(&self, took: Duration) {
        self.opened.record(took);
    }

    pub(crate) fn ended(&self, result: &'static str) {
        if result == CLOSED {
            self.closed.increment(1);
        } else {
            counter!(SESSIONS_TOTAL, "group" => self.label.to_string(), "result" => result).increment(1);
        }
    }

    /// So many bytes more went up and down.
    pub(crate) fn carried(&self, up: u64, down: u64) {
        self.up.increment(up);
        self.down.increment(down);
    }
}

impl fmt::Debug for SessionMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionMeters").field("label", &self.label).finish_non_exhaustive()
    }
}

pub(crate) fn certificate(name: &'static str, not_after: SystemTime) {
    let expires = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(CERTIFICATE_EXPIRY, "certificate" => name).set(expires.as_secs_f64());
}

/// Shows one group as it is now. Gives the members of which it is shown whether they serve.
pub(crate) fn show_group(
    observed: &GroupObserved,
    standing: &Standing,
    open: OpenSessions,
) -> BTreeSet<String> {
    let label = || observed.label.to_string();
    let tunnels = observed.members.values().flat_map(|member| &member.tunnels);
    let alive = tunnels.filter(|tunnel| tunnel.liveness == Liveness::Alive).count();
    gauge!(TUNNELS, "group" => label()).set(alive as f64);
    gauge!(SESSIONS, "group" => label()).set(open.own as f64);
    gauge!(GUESTS, "group" => label()).set(open.guests as f64);
    if let Some(view) = &observed.view {
        gauge!(CONFIG_REVISION, "group" => label()).set(view.revision as f64);
    }
    let mut members: BTreeMap<MemberStatus, u32> = MemberStatus::ALL.map(|status| (status, 0)).into();
    for judged in standing.judgement.members.values() {
        *members.entry(judged.status).or_default() += 1;
    }
    for (status, count) in members {
        gauge!(MEMBERS, "group" => label(), "status" => status.label()).set(f64::from(count));
    }
    let is = |is: bool| if is { 1.0 } else { 0.0 };
    let judged = standing.judgement.group;
    for state in GroupHealth::ALL {
        gauge!(GROUP_STATE, "group" => label(), "state" => state.label()).set(is(state == judged.status));
    }
    for reason in Why::WORDS {
        gauge!(GROUP_REASON, "group" => label(), "reason" => reason).set(is(reason == judged.why.as_str()));
    }
    gauge!(GROUP_STATE_SINCE, "group" => label()).set(standing.since_ms as f64 / 1e3);
    let serving = serving(observed, standing);
    for (member, serves) in &serving {
        gauge!(MEMBER_SERVING, "group" => label(), "member" => member.clone()).set(is(*serves));
    }
    serving.into_keys().collect()
}

/// Members that should serve, by name, and whether they do.
fn serving(observed: &GroupObserved, standing: &Standing) -> BTreeMap<String, bool> {
    let Some(view) = &observed.view else { return BTreeMap::new() };
    let members = view.members.iter().filter_map(|(id, member)| {
        let serves = match standing.judgement.members.get(id)?.status {
            MemberStatus::Active | MemberStatus::Degraded => true,
            MemberStatus::NoResponse => false,
            MemberStatus::AwaitingSetup | MemberStatus::Draining | MemberStatus::Disabled => return None,
        };
        Some((if member.name.is_empty() { id.to_string() } else { member.name.clone() }, serves))
    });
    members.collect()
}

/// Members that are not there, or of whom nothing is expected, any more.
pub(crate) fn clear_members<'a>(label: &str, members: impl Iterator<Item = &'a String>) {
    for member in members {
        gauge!(MEMBER_SERVING, "group" => label.to_owned(), "member" => member.clone()).set(f64::NAN);
    }
}

/// A group that is no more is shown no more: a gauge cannot be taken back, and one that is no number is left out.
pub(crate) fn clear_group(label: &str) {
    for name in [TUNNELS, SESSIONS, GUESTS, CONFIG_REVISION, GROUP_STATE_SINCE] {
        gauge!(name, "group" => label.to_owned()).set(f64::NAN);
    }
    for status in MemberStatus::ALL {
        gauge!(MEMBERS, "group" => label.to_owned(), "status" => status.label()).set(f64::NAN);
    }
    for state in GroupHealth::ALL {
        gauge!(GROUP_STATE, "group" => label.to_owned(), "state" => state.label()).set(f64::NAN);
    }
    for reason in Why::WORDS {
        gauge!(GROUP_REASON, "group" => label.to_owned(), "reason" => reason).set(f64::NAN);
    }
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use warren_core::state::Intent;

    use super::*;
    use crate::{
        registry::{MemberObserved, TunnelObserved, judge},
        testing::{agent, group, snapshot},
    };

    #[test]
    fn whoever_should_serve_is_shown_and_whoever_was_taken_out_is_not() {
        let mut view = snapshot(1, &[1, 2, 3], &[]);
        if let Some(member) = view.members.get_mut(&agent(3)) {
            member.intent = Intent::Disabled;
        }
        let (liveness, draining) = (Liveness::Alive, false);
        let tunnel = TunnelObserved { slot: 0, since: Instant::now(), liveness, rtt: None, draining };
        let members = [(1, vec![tunnel]), (2, Vec::new())]
            .map(|(number, tunnels)| (agent(number), MemberObserved { tunnels, ..Default::default() }));
        let observed = GroupObserved {
            group: group(),
            label: "site".into(),
            view: Some(view.into()),
            members: members.into(),
        };
        let judgement = judge(Some(&observed), &[]);
        let standing = Standing { judgement, since_ms: 0, members_since_ms: BTreeMap::new() };
        assert_eq!(
            serving(&observed, &standing),
            BTreeMap::from([("a1".into(), true), ("a2".into(), false)])
        );
    }
}
