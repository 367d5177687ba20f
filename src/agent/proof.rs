//! The sign that a tunnel carries data: the gateway has used it.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by a tunnel and what it serves. Once given, a proof stays.
#[derive(Debug, Clone)]
pub(crate) struct Proof(Arc<watch::Sender<bool>>);

impl Proof {
    pub(crate) fn absent() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn give(&self) {
        self.0.send_if_modified(|given| !std::mem::replace(given, true));
    }

    /// Resolves once it is given.
    pub(crate) async fn given(&self) {
        // An error would mean that the sender is gone, and we hold it.
        let _ = self.0.subscribe().wait_for(|given| *given).await;
    }
}
