//! A bounded number of handshakes; whoever came first gives way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

#[derive(Debug, Clone)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// By age; dropping the sender tells the holder.
    holders: BTreeMap<u64, oneshot::Sender<Infallible>>,
}

type Infallible = std::convert::Infallible;

/// The right to go on with a handshake, until it is lost.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    lost: oneshot::Receiver<Infallible>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max: max.max(1) }
    }

    /// Never waits: when all places are taken, the oldest is taken away from its holder.
    pub(super) fn take(&self) -> Place {
        let (sender, lost) = oneshot::channel();
        let mut taken = self.lock();
        if taken.holders.len() >= self.max {
            taken.holders.pop_first();
        }
        taken.last += 1;
        let number = taken.last;
        taken.holders.insert(number, sender);
        Place { places: self.clone(), number, lost }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the place is taken away.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent: the end of the sender is the message.
        let Err(_gone) = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way() {
        let places = Places::new(2);
        let (mut first, mut second) = (places.take(), places.take());
        assert!(first.lost().now_or_never().is_none());
        let third = places.take();
        first.lost().await;
        assert!(second.lost().now_or_never().is_none());
        drop((first, third));
        let _fourth = places.take();
        assert!(second.lost().now_or_never().is_none(), "there was room again");
    }
}
