//! What the group counts.

use warren_core::catalogue::{Kind, Metric};

/// Term of the member's log.
pub const RAFT_TERM: &str = "warren_raft_term";
/// 1 on the leader.
pub const RAFT_IS_LEADER: &str = "warren_raft_is_leader";
/// Index of the last log entry.
pub const RAFT_LAST_LOG_INDEX: &str = "warren_raft_last_log_index";
/// Index of the last committed entry.
pub const RAFT_COMMITTED_INDEX: &str = "warren_raft_committed_index";
/// Index of the last applied entry.
pub const RAFT_APPLIED_INDEX: &str = "warren_raft_applied_index";
/// Changes of leader that this member saw.
pub const RAFT_LEADER_CHANGES_TOTAL: &str = "warren_raft_leader_changes_total";
/// Elections that this member started.
pub const RAFT_ELECTIONS_TOTAL: &str = "warren_raft_elections_total";
/// Time to make log entries durable.
pub const RAFT_APPEND_SECONDS: &str = "warren_raft_append_seconds";
/// Revision of the config.
pub const GROUP_REVISION: &str = "warren_group_revision";
/// Number of voters.
pub const GROUP_VOTERS: &str = "warren_group_voters";
/// Members by verdict.
pub const GROUP_MEMBERS: &str = "warren_group_members";
/// Whether a majority is in touch.
pub const GROUP_QUORUM: &str = "warren_group_quorum";
/// Whether this member takes no part.
pub const GROUP_LOG_STOPPED: &str = "warren_group_log_stopped";
/// Proposals asked of this member, by result.
pub const GROUP_PROPOSALS_TOTAL: &str = "warren_group_proposals_total";

/// All metrics of this crate.
pub const CATALOGUE: &[Metric] = &[
    Metric {
        name: RAFT_TERM,
        kind: Kind::Gauge,
        labels: &[],
        help: "Term of this member's log; each election raises it.",
    },
    Metric {
        name: RAFT_IS_LEADER,
        kind: Kind::Gauge,
        labels: &[],
        help: "1 when this member leads its group, else 0.",
    },
    Metric {
        name: RAFT_LAST_LOG_INDEX,
        kind: Kind::Gauge,
        labels: &[],
        help: "Index of the last entry in this member's log.",
    },
    Metric {
        name: RAFT_COMMITTED_INDEX,
        kind: Kind::Gauge,
        labels: &[],
        help: "Index of the last entry that this member knows to be committed.",
    },
    Metric {
        name: RAFT_APPLIED_INDEX,
        kind: Kind::Gauge,
        labels: &[],
        help: "Index of the last entry that this member has applied.",
    },
    Metric {
        name: RAFT_LEADER_CHANGES_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        help: "Times that this member learned of another leader.",
    },
    Metric {
        name: RAFT_ELECTIONS_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        help: "Elections that this member started after a majority told it that they see no leader.",
    },
    Metric {
        name: RAFT_APPEND_SECONDS,
        kind: Kind::Histogram,
        labels: &[],
        help: "Time from handing log entries to the disk until they are durable, fsync included.",
    },
    Metric {
        name: GROUP_REVISION,
        kind: Kind::Gauge,
        labels: &[],
        help: "Revision of the group's config that this member has applied.",
    },
    Metric { name: GROUP_VOTERS, kind: Kind::Gauge, labels: &[], help: "Members with a vote." },
    Metric {
        name: GROUP_MEMBERS,
        kind: Kind::Gauge,
        labels: &["verdict"],
        help: "Members by how their peers judge them: up, suspect, down.",
    },
    Metric {
        name: GROUP_QUORUM,
        kind: Kind::Gauge,
        labels: &[],
        help: "1 when a majority of the voters is in touch as far as this member can tell, else 0.",
    },
    Metric {
        name: GROUP_LOG_STOPPED,
        kind: Kind::Gauge,
        labels: &[],
        help: "1 while this member takes no part in its group: its disk is full or failed, or the group was recovered without it; its log says which.",
    },
    Metric {
        name: GROUP_PROPOSALS_TOTAL,
        kind: Kind::Counter,
        labels: &["result"],
        help: "Proposals asked of this member: applied, refused, or why there was no answer.",
    },
];
