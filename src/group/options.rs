//! What a member is told at start, and what it borrows from its surroundings.

use std::{fmt::Debug, path::PathBuf, str::FromStr, time::Duration};

use thiserror::Error;
use tonic::transport::Channel;
use warren_core::{
    id::{AgentId, GroupId},
    state::Level,
};

/// Who this member is and where it keeps the log.
#[derive(Debug, Clone)]
pub struct Options {
    pub group: GroupId,
    pub me: AgentId,
    /// Name for people.
    pub name: String,
    /// Where the other members reach this one, `host:port`; not the address it listens on.
    pub peer_address: String,
    /// Version of the agent's program.
    pub version: String,
    /// Folder of `group.redb`; created when missing. Belongs to this agent of this group only.
    pub data_dir: PathBuf,
    pub profile: Profile,
}

/// What only tests set otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// A snapshot is taken each time this many entries were applied, at least 1.
    pub(crate) snapshot_every: u64,
    /// Entries that stay in the log after a snapshot, for members that lag a little.
    pub(crate) log_keep: u64,
    /// A voter that is down for so long loses its vote to a member that waits for one.
    pub(crate) replace_after: Duration,
    /// What this member's program knows.
    pub(crate) level: Level,
}

impl Default for Tuning {
    /// A thousand entries replay in well under a second; a machine is back from a restart within minutes.
    fn default() -> Self {
        Self {
            snapshot_every: 1_000,
            log_keep: 100,
            replace_after: Duration::from_secs(300),
            level: Level::NEWEST,
        }
    }
}

/// Makes connections to other members. The agent's uses mutual TLS and the addressee's own DNS name.
pub trait PeerDialer: Debug + Send + Sync + 'static {
    /// A channel that connects when it is first used, and again after it broke. Must not block.
    fn channel(&self, peer: AgentId, address: &str) -> Channel;
}

/// Who calls, from the verified client certificate. The agent's listener puts it into the extensions of each request;
/// calls without it are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub group: GroupId,
    pub agent: AgentId,
}

/// How fast members notice a dead leader, against how slow a healthy one may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// One site, local disks: writable again within a second of a leader's death.
    #[default]
    Lan,
    /// Members in different places, up to 100 ms apart.
    Wan,
    /// Disks that take hundreds of milliseconds to sync.
    SlowDisk,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a profile, expected lan, wan or slow-disk")]
pub struct ProfileError(String);

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "slow-disk" => Ok(Self::SlowDisk),
            _ => Err(ProfileError(text.to_owned())),
        }
    }
}

impl Profile {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::SlowDisk => "slow-disk",
        }
    }

    /// The longest that a sync of a member's disk should take, in the middle of several: a fifth of the shortest wait
    /// before an election, since a vote and an acknowledgement take one each, and the disk has other work.
    pub fn sync_max(self) -> Duration {
        self.timing().election_min / 5
    }

    pub(crate) const fn timing(self) -> Timing {
        let (heartbeat, election_min, election_max) = match self {
            Self::Lan => (100, 250, 350),
            Self::Wan => (250, 1_000, 1_500),
            Self::SlowDisk => (500, 1_500, 3_000),
        };
        Timing {
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(election_min),
            election_max: Duration::from_millis(election_max),
        }
    }
}

/// Raft's clocks. A leader's word is trusted for `election_max` after it was last heard (the lease).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) election_min: Duration,
    pub(crate) election_max: Duration,
}

impl Timing {
    /// How long nobody else may be elected after the leader was heard.
    pub(crate) const fn lease(self) -> Duration {
        self.election_max
    }

    /// How long one voter leaves the next before it in turn, to ask and to be elected.
    pub(crate) fn turn(self) -> Duration {
        self.election_min / 4
    }

    /// How long one step of a hand-over may take: a question to another member, and what that writes to its disk.
    pub(crate) fn hand_over(self) -> Duration {
        self.election_min * 2
    }

    /// How long after it was heard a leader still counts as in touch; also how old a quorum's acknowledgement may be.
    /// Twice the lease, because heartbeats come each one and a half intervals and may be late once.
    pub(crate) fn in_touch(self) -> Duration {
        self.election_max * 2
    }

    /// How long a proposal waits for a quorum to appear before it is refused.
    pub(crate) fn patience(self) -> Duration {
        (self.election_max * 4).max(Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_read_back() {
        for profile in [Profile::Lan, Profile::Wan, Profile::SlowDisk] {
            assert_eq!(profile.as_str().parse(), Ok(profile));
            let timing = profile.timing();
            assert!(timing.heartbeat < timing.election_min && timing.election_min < timing.election_max);
        }
        let error = "fast".parse::<Profile>().unwrap_err().to_string();
        assert_eq!(error, "`fast` is not a profile, expected lan, wan or slow-disk");
    }
}
