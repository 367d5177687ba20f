//! Revoked agents leave their groups, also when a group could not be asked at once.
//!
//! A revocation holds from the moment that it is in the store. That the group forgets the member too takes a majority,
//! which may be missing just then: a dead member is a common reason to revoke one. So whoever is revoked and still
//! counted is looked for again and again, and the group asked once it can decide.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use warren_core::id::{AgentId, GroupId};
use warren_wire::v1::{RemoveMember, propose_request::Command};

use crate::{
    admin::{audit, propose::propose},
    registry::Registry,
    store::Store,
};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a group said no, or nothing.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Who asks, in the history and the audit.
const AUTHOR: &str = "gateway";

/// Looks at the groups for as long as it is polled.
#[derive(Debug)]
pub(crate) struct Leavers {
    registry: Registry,
    store: Arc<dyn Store>,
    /// When those that a group did not let go are asked for again.
    later: BTreeMap<AgentId, Instant>,
}

impl Leavers {
    pub(crate) fn new(registry: Registry, store: Arc<dyn Store>) -> Self {
        Self { registry, store, later: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(Instant::now()).await;
        }
    }

    /// Asks each group for one member at most, all groups at once.
    pub(crate) async fn look(&mut self, now: Instant) {
        self.later.retain(|_, again| *again > now);
        let due =
            self.registry.views().into_iter().filter(|(_, view)| view.quorum).filter_map(|(group, view)| {
                let leaves = |id: &&AgentId| self.registry.is_revoked(**id) && !self.later.contains_key(*id);
                Some((group, *view.members.keys().find(leaves)?))
            });
        let due: Vec<_> = due.collect();
        let asked = due.iter().map(|(group, member)| self.ask(*group, *member));
        let kept = futures_util::future::join_all(asked).await;
        let kept = due.iter().zip(kept).filter(|(_, gone)| !gone);
        self.later.extend(kept.map(|((_, member), _)| (*member, now + AGAIN_AFTER)));
    }

    /// Says whether the group has let it go.
    async fn ask(&self, group: GroupId, member: AgentId) -> bool {
        let command = Command::Remove(RemoveMember { member: member.to_string() });
        match propose(&self.registry, group, AUTHOR, command).await {
            Ok(_) => {
                info!(%group, %member, "revoked agent taken out of its group");
                audit::write(&*self.store, AUTHOR, "agents.remove", &member.to_string(), "ok").await;
                true
            }
            Err(problem) if problem.reason == "unknown_member" => true,
            Err(problem) => {
                warn!(
                    %group,
                    %member,
                    reason = &*problem.reason,
                    error = problem.message,
                    "revoked agent is still counted by its group, it is asked again"
                );
                false
            }
        }
    }
}
