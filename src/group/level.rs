//! The level at which the group works, on the disk: programs that do not know it do not open the log.

use std::sync::Arc;

use crate::member::Member;

/// Follows the state until the member stops.
pub(crate) async fn run(member: Arc<Member>) {
    let mut current = member.current.clone();
    loop {
        let level = current.borrow_and_update().state.level;
        if let Err(error) = member.log.keep_level(level).await {
            tracing::error!(%error, "the group's feature level could not be written down");
            return;
        }
        if !matches!(member.stop.run_until_cancelled(current.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}
