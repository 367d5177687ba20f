//! All tunnels of a process, by who is at the other end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

use super::{
    Closed, Driver, Greeted, Handle, greet, join,
    shared::{Shared, now},
};
use crate::{
    budget::Budget,
    frame::{Hello, ResetReason},
    machine::{Bundle, Config, Role, STILL_OPEN},
};

/// The bundles of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundles {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    role: Role,
    config: Config,
    process: Budget,
    /// By place; of each place the processes of which something is left, the newest last.
    places: Mutex<HashMap<u64, Vec<Known>>>,
}

/// A process at the other end, by its boot.
type Known = (u64, Weak<Shared>);

impl Bundles {
    /// `process` is the budget that all tunnels share.
    pub fn new(role: Role, config: Config, process: Budget) -> Self {
        let places = Mutex::new(HashMap::new());
        Self { inner: Arc::new(Inner { role, config, process, places }) }
    }

    /// Says hello on `stream`, whose first bytes may already be in `read_buf`, and waits for the peer's.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        read_buf: Bytes,
        hello: Hello,
    ) -> Result<Greeted<S>, Closed> {
        let Inner { role, config, process, .. } = &*self.inner;
        greet::greet(stream, read_buf, *role, config.clone(), hello, process).await
    }

    /// Joins a tunnel to those with the same process at the other end, whose waiting sessions go on there. `place` says whose
    /// process that is, and outlives its restarts; an agent that is a newer start than the one known, or a gateway that is
    /// another, takes its place, and the sessions of the former are reset.
    ///
    /// Nothing happens until the driver is polled; dropping it ends the tunnel.
    pub fn join<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        place: u64,
        greeted: Greeted<S>,
    ) -> (Handle, Driver<S>) {
        let Greeted { wire, tunnel, frames, peer } = greeted;
        let (shared, gone) = self.find(place, peer.boot);
        for former in gone {
            former.peer_gone();
        }
        join(&shared, tunnel, wire, frames)
    }

    /// Of a process that stops, once its tunnels are drained and none comes any more: whatever waits for a tunnel waits in
    /// vain, and is reset at `until`, as what tunnels carry is then. Gives the number of sessions.
    pub async fn drain(&self, until: Instant) -> usize {
        let waiting = |bundle: &Arc<Shared>| bundle.lock().bundle.parked() > 0;
        if self.all().iter().any(waiting) {
            sleep_until(until).await;
        }
        self.all().iter().map(|bundle| bundle.give_up_waiting()).sum()
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        let places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.values().flatten().filter_map(|(_, bundle)| bundle.upgrade()).collect()
    }

    /// The bundle of that process, and those of the processes that it has taken the place of.
    fn find(&self, place: u64, boot: u64) -> (Arc<Shared>, Vec<Arc<Shared>>) {
        let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, bundles| {
            bundles.retain(|(_, bundle)| bundle.strong_count() > 0);
            !bundles.is_empty()
        });
        let bundles = places.entry(place).or_default();
        let mut gone = Vec::new();
        let mut found = None;
        for (known, bundle) in bundles.iter() {
            let Some(bundle) = bundle.upgrade() else { continue };
            if *known == boot {
                found = Some(bundle);
            } else if self.inner.role == Role::Agent || *known < boot {
                gone.push(bundle);
            }
        }
        let shared = found.unwrap_or_else(|| {
            let shared = Shared::new(Bundle::new(self.inner.config.clone(), self.inner.role));
            bundles.push((boot, Arc::downgrade(&shared)));
            shared
        });
        (shared, gone)
    }
}

impl Shared {
    fn peer_gone(&self) {
        self.tell(|bundle| bundle.peer_gone(now()));
    }

    fn give_up_waiting(&self) -> usize {
        self.tell(|bundle| bundle.give_up_waiting(ResetReason::Draining, STILL_OPEN, now()))
    }

    /// Changes the bundle, and wakes whomever that is news for.
    fn tell<T>(&self, change: impl FnOnce(&mut Bundle) -> T) -> T {
        let mut wakers = Vec::new();
        let told = {
            let mut state = self.lock();
            let told = change(&mut state.bundle);
            state.dispatch_parked(&mut wakers);
            state.wake_touched(&mut wakers);
            told
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        told
    }
}
