//! Listeners follow what the groups have: new resources get an address, lost ones give theirs back.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;
use warren_core::id::GroupId;
use warren_wire::convert::Snapshot;

use super::{IngressError, Key, Shared};

/// How long a resource must be missing before its address is given up: a member that lags knows less than the group.
const GONE_AFTER: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes come in bursts.
const SETTLE: Duration = Duration::from_millis(20);

pub(super) async fn run(shared: &Arc<Shared>) {
    let mut changes = shared.registry.changes();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper::default();
    loop {
        let all = tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = looks.tick() => true,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(SETTLE).await;
                changes.mark_unchanged();
                false
            }
        };
        keeper.look(shared, all, Instant::now()).await;
    }
}

#[derive(Default)]
pub(super) struct Keeper {
    /// What was looked at last.
    seen: BTreeMap<GroupId, Arc<Snapshot>>,
    /// Listeners whose resource is not in its group, since when.
    missing: BTreeMap<Key, Instant>,
    /// Resources that could not be given an address; that is told once.
    refused: BTreeSet<Key>,
}

impl Keeper {
    /// Looks at the groups that have said something new, or at all of them.
    pub(super) async fn look(&mut self, shared: &Arc<Shared>, all: bool, now: Instant) {
        // A view outlives the tunnels through which it came: then others know better, and decide.
        let mut views = shared.registry.views();
        views.retain(|(group, _)| shared.registry.has_tunnels(*group));
        let is_new = |(group, view): &(GroupId, Arc<Snapshot>)| {
            all || self.seen.get(group).is_none_or(|seen| !Arc::ptr_eq(seen, view))
        };
        let new: Vec<_> = views.iter().filter(|known| is_new(known)).cloned().collect();
        self.seen = views.into_iter().collect();
        for (group, view) in new {
            self.follow(shared, group, &view, now).await;
        }
        let gone = self.missing.iter().filter(|(_, since)| now.duration_since(**since) >= GONE_AFTER);
        let unheard = |key: &Key| is_reserved(shared, key) || !shared.registry.has_tunnels(key.0);
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).filter(|key| !unheard(key)).collect();
        for key in gone {
            self.missing.remove(&key);
            shared.close_unless_reserved(&key).await;
        }
    }

    async fn follow(&mut self, shared: &Arc<Shared>, group: GroupId, view: &Snapshot, now: Instant) {
        let of_group = |key: &&Key| key.0 == group;
        let listening: BTreeSet<Key> = shared.lock().keys().filter(of_group).cloned().collect();
        for resource in view.resources.keys() {
            let key = (group, resource.clone());
            if !listening.contains(&key) && !shared.is_let_go(&key) {
                open(shared, key, &mut self.refused).await;
            }
        }
        self.missing.retain(|key, _| {
            key.0 != group || (listening.contains(key) && !view.resources.contains_key(&key.1))
        });
        // Without a majority there may be news that this member does not know.
        for key in listening.into_iter().filter(|key| view.quorum && !view.resources.contains_key(&key.1)) {
            self.missing.entry(key).or_insert(now);
        }
    }
}

/// Opens a resource that was made elsewhere. A refusal is told once.
async fn open(shared: &Arc<Shared>, key: Key, refused: &mut BTreeSet<Key>) {
    let opened = async {
        let mut reservation = shared.clone().claim(key.clone())?;
        reservation.bind(None)?;
        reservation.commit().await
    };
    match opened.await {
        Ok(_) => drop(refused.remove(&key)),
        // Somebody makes it through this gateway right now.
        Err(IngressError::Listening { .. } | IngressError::Stopping) => {}
        Err(error) => {
            if refused.insert(key.clone()) {
                warn!(group = %key.0, resource = %key.1, error = &error as &dyn Error, "resource has no address");
            }
        }
    }
}

fn is_reserved(shared: &Shared, key: &Key) -> bool {
    shared.lock().get(key).is_some_and(|entry| entry.reserved)
}
