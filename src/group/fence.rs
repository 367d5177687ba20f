//! Which calls between members count: those of the group's present epoch, between logs that know each other.
//!
//! The epoch is 1 from the founding on, and a later one after each recovery (`warren recover`), which makes one member the
//! whole group: members of an earlier epoch are out. Should several survivors be recovered, each one's epoch is another, as
//! it ends in digits of its log's number: the latest is the group, and the others are out. And each log has a number of its own, drawn when its file is made: a
//! member that lost its file comes back with another number, has forgotten what it had voted for, and is refused under its
//! old id.
//!
//! Zero stands for what the other end does not say: epoch 0 is of an agent without a log, or of a program from before
//! there were epochs, which is of the first one; log 0 is of a member that such a program seated.

use std::sync::Arc;

use thiserror::Error;
use tonic::{Code, Status, metadata::MetadataValue};
use warren_core::id::AgentId;

use crate::member::Member;

/// Says to whoever is refused how far the group has come.
const EPOCH: &str = "warren-epoch";

/// Which log, of which epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: u64,
    pub(crate) log: u64,
}

/// Recoveries are counted in millions of the epoch.
const RECOVERY: u64 = 1_000_000;

impl Mark {
    /// The epoch that a recovery of this log begins, if it has heard of none later than `heard`.
    pub(crate) fn after(self, heard: Option<u64>) -> u64 {
        let recoveries = self.epoch.max(heard.unwrap_or(0)) / RECOVERY;
        (recoveries + 1) * RECOVERY + self.log % RECOVERY
    }
}

/// One call, as the addressee sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) caller: AgentId,
    pub(crate) from: Mark,
    /// The number of the log that the caller means to call.
    pub(crate) to_log: u64,
    /// The number of the caller's log by the addressee's roster.
    pub(crate) known: u64,
    /// It asks to become a member.
    pub(crate) joins: bool,
}

/// Why a call does not count; told to whoever runs the agent that it names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Fenced {
    #[error(
        "{agent} is of epoch {epoch}, its group of epoch {group}: the group was recovered without it, and nothing that it \
         holds counts; stop that agent, move its data folder away and enrol it again with a new token, it gets a new id"
    )]
    Past { agent: AgentId, epoch: u64, group: u64 },
    #[error(
        "{0} has lost its log, and with it what it had promised: stop that agent, move the rest of its data folder away and \
         enrol it again with a new token, it gets a new id; then revoke {0}"
    )]
    LogLost(AgentId),
}

/// Whether a member that is `me` with the mark `own` may listen.
pub(crate) fn check(me: AgentId, own: Mark, call: Call) -> Result<(), Fenced> {
    let Call { caller, from, to_log, known, joins } = call;
    // Whoever has no log has nothing to lose; it learns its epoch with its first entries.
    if own.epoch > 0 {
        let theirs = if from.epoch == 0 && !joins { 1 } else { from.epoch };
        if theirs > own.epoch {
            return Err(Fenced::Past { agent: me, epoch: own.epoch, group: theirs });
        }
        if theirs < own.epoch && theirs > 0 {
            return Err(Fenced::Past { agent: caller, epoch: theirs, group: own.epoch });
        }
    }
    if to_log != 0 && to_log != own.log {
        return Err(Fenced::LogLost(me));
    }
    if known != 0 && from.log != 0 && known != from.log {
        return Err(Fenced::LogLost(caller));
    }
    Ok(())
}

impl From<Fenced> for Status {
    fn from(fenced: Fenced) -> Self {
        let mut status = Self::new(Code::PermissionDenied, fenced.to_string());
        if let Fenced::Past { group, .. } = fenced {
            status.metadata_mut().insert(EPOCH, MetadataValue::from(group));
        }
        status
    }
}

/// The later epoch that a refusal tells of, if it does.
pub(crate) fn later_epoch(status: &Status, own: u64) -> Option<u64> {
    let told: u64 = status.metadata().get(EPOCH)?.to_str().ok()?.parse().ok()?;
    (told > own && own > 0).then_some(told)
}

/// Ends this member's part once it has heard of a later epoch: first on the disk, so that it does not begin anew.
pub(crate) async fn run(member: Arc<Member>) {
    let mut superseded = member.log.watch_superseded();
    let heard = async { superseded.wait_for(Option::is_some).await.is_ok() };
    if member.stop.run_until_cancelled(heard).await != Some(true) {
        return;
    }
    if let Some(fenced) = member.fenced() {
        tracing::error!(reason = %fenced, "this member is out of its group");
    }
    if let Err(error) = member.log.keep_superseded().await {
        tracing::error!(%error, "that this member is out could not be written down");
    }
    if let Err(error) = member.raft.shutdown().await {
        tracing::error!(%error, "the log did not stop");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: AgentId = AgentId::from_random(1);
    const CALLER: AgentId = AgentId::from_random(2);

    fn judge(own: (u64, u64), from: (u64, u64), to_log: u64, known: u64, joins: bool) -> Result<(), Fenced> {
        let mark = |(epoch, log)| Mark { epoch, log };
        check(ME, mark(own), Call { caller: CALLER, from: mark(from), to_log, known, joins })
    }

    #[test]
    fn only_the_present_epoch_is_heard() {
        let past = |agent, epoch, group| Err(Fenced::Past { agent, epoch, group });
        assert_eq!(judge((2, 5), (2, 6), 5, 6, false), Ok(()));
        assert_eq!(judge((2, 5), (1, 6), 5, 6, false), past(CALLER, 1, 2));
        assert_eq!(judge((1, 5), (2, 6), 5, 6, false), past(ME, 1, 2));
        // Nobody joins with a log of an earlier epoch, but without one.
        assert_eq!(judge((2, 5), (1, 6), 0, 0, true), past(CALLER, 1, 2));
        assert_eq!(judge((2, 5), (0, 6), 0, 0, true), Ok(()));
        // A newcomer takes what its leader sends.
        assert_eq!(judge((0, 5), (7, 6), 5, 0, false), Ok(()));
        // An older program is of the first epoch.
        assert_eq!(judge((1, 5), (0, 0), 0, 6, false), Ok(()));
        assert_eq!(judge((2, 5), (0, 0), 0, 6, false), past(CALLER, 1, 2));
    }

    #[test]
    fn two_survivors_begin_different_epochs() {
        let mark = |epoch, log| Mark { epoch, log };
        assert_eq!(mark(1, 7_000_042).after(None), 1_000_042);
        assert_ne!(mark(1, 41).after(None), mark(1, 42).after(None));
        // Always later than what is known, also when earlier programs counted in ones.
        assert_eq!(mark(1_999_999, 3).after(None), 2_000_003);
        assert_eq!(mark(1, 3).after(Some(2_000_007)), 3_000_003);
        assert_eq!(mark(5, 3).after(Some(6)), 1_000_003);
    }

    #[test]
    fn a_member_that_lost_its_log_is_neither_heard_nor_called() {
        assert_eq!(judge((1, 5), (0, 7), 0, 6, true), Err(Fenced::LogLost(CALLER)));
        assert_eq!(judge((0, 8), (1, 6), 5, 0, false), Err(Fenced::LogLost(ME)));
        assert_eq!(judge((1, 5), (1, 7), 5, 0, false), Ok(()), "seated by an older program");
    }

    #[test]
    fn a_refusal_tells_of_the_later_epoch() {
        let fenced = Fenced::Past { agent: CALLER, epoch: 1, group: 2 };
        let told = fenced.to_string();
        assert!(told.contains("move its data folder away and enrol it again"), "{told}");
        let status = Status::from(fenced);
        assert_eq!(later_epoch(&status, 1), Some(2));
        assert_eq!(later_epoch(&status, 2), None);
        assert_eq!(later_epoch(&status, 0), None, "without a log there is nothing to give up");
        assert_eq!(later_epoch(&Status::from(Fenced::LogLost(CALLER)), 1), None);
    }
}
