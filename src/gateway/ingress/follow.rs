//! Listening where the other gateways on the same store say.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{Entry, IngressError, Key, Shared, bind};
use crate::store::ListenerRecord;

/// How long a member that has not heard yet may go on naming a resource that another gateway has closed.
const LET_GO_FOR: Duration = Duration::from_secs(10);

impl Shared {
    pub(super) fn follow(self: &Arc<Self>, kept: Vec<ListenerRecord>) -> bool {
        let kept: BTreeMap<Key, SocketAddr> = kept
            .into_iter()
            .map(|record| ((record.group, record.resource), record.at.on(self.host)))
            .collect();
        let (gone, passed_over) = {
            let mut entries = self.lock();
            let stale = entries.iter().filter(|(key, entry)| match kept.get(key) {
                // What was kept a moment ago is not in what was read before.
                None => entry.seen_in_store,
                Some(address) => entry.address != Some(*address),
            });
            let (held, free): (Vec<_>, Vec<_>) = stale.partition(|(_, entry)| entry.reserved);
            let (gone, passed_over): (Vec<Key>, _) =
                (free.into_iter().map(|(key, _)| key.clone()).collect(), !held.is_empty());
            for (key, entry) in entries.iter_mut().filter(|(_, entry)| !entry.reserved) {
                entry.seen_in_store = kept.contains_key(key);
            }
            (gone, passed_over)
        };
        for key in &gone {
            self.clone().let_go(key);
        }
        for (key, address) in kept {
            if !self.lock().contains_key(&key) && !self.stop.is_cancelled() {
                self.clone().restore(key, address);
            }
        }
        !passed_over
    }

    /// Closes what another gateway has closed.
    fn let_go(&self, key: &Key) {
        let Some(entry) = self.lock().remove(key) else { return };
        entry.stop.cancel();
        let (now, mut let_go) = (Instant::now(), self.lock_let_go());
        let_go.retain(|_, at| now.duration_since(*at) < LET_GO_FOR);
        let_go.insert(key.clone(), now);
        info!(group = %key.0, resource = %key.1, "resource closed to callers, by another gateway");
    }

    fn lock_let_go(&self) -> MutexGuard<'_, BTreeMap<Key, Instant>> {
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_let_go(&self, key: &Key) -> bool {
        self.lock_let_go().get(key).is_some_and(|at| at.elapsed() < LET_GO_FOR)
    }

    fn restore(self: Arc<Self>, key: Key, address: SocketAddr) {
        let stop = self.stop.child_token();
        let waits = stop.child_token();
        let entry = Entry {
            address: Some(address),
            stop,
            waits: Some(waits.clone()),
            reserved: false,
            seen_in_store: true,
        };
        self.lock().insert(key.clone(), entry);
        let Err(error) = self.clone().bind_restored(&key) else { return };
        warn!(resource = %key.1, %address, error = &error as &dyn Error, "address not free, it is tried again");
        let shared = self.clone();
        self.tasks.spawn(async move {
            let patiently = async {
                for pause in bind::pauses() {
                    sleep(pause).await;
                    if shared.clone().bind_restored(&key).is_ok() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = patiently => {}
                () = waits.cancelled() => {}
            }
        });
    }

    /// Binds the address of a resource that waits for it, and lets callers in. Nothing is left to do when it is bound, or gone.
    pub(super) fn bind_restored(self: Arc<Self>, key: &Key) -> Result<(), IngressError> {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(key).filter(|entry| entry.waits.is_some()) else { return Ok(()) };
        let Some(address) = entry.address else { return Ok(()) };
        let listener = bind::bind_for_callers(address)?;
        if let Some(waits) = entry.waits.take() {
            waits.cancel();
        }
        let stop = entry.stop.clone();
        drop(entries);
        self.accept(key.clone(), listener, stop);
        Ok(())
    }
}
