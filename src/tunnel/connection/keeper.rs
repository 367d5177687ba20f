//! Gives up sessions that have waited for a tunnel long enough.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::shared::{Shared, now};

/// Watches over a bundle as long as something is parked in it. Outside a runtime nothing can wait: what is parked then goes
/// with the bundle.
pub(super) fn start(shared: Arc<Shared>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(keep(shared));
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        let mut wakers = Vec::new();
        let next = {
            let mut state = shared.lock();
            state.bundle.expire(now());
            state.dispatch_parked(&mut wakers);
            let next = state.bundle.poll_expiry();
            state.kept = next.is_some();
            next
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        match next {
            Some(at) => sleep_until(Instant::from_std(at)).await,
            None => return,
        }
    }
}
