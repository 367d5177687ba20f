//! Hearing at once that another gateway has changed something.
//!
//! PostgreSQL tells whoever listens; a connection that broke, or one through which nothing comes any more, is made anew. What is
//! missed meanwhile is found by whoever looks at [`Store::news`](crate::store::Store::news) now and then.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::gateways::CHANNEL;

/// A connection that said nothing for so long has to show that it can.
const PROVE_EVERY: Duration = Duration::from_secs(20);
const PROVE_WITHIN: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Bell {
    rings: watch::Sender<u64>,
    task: Arc<Mutex<Option<AbortOnDropHandle<()>>>>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { rings: watch::Sender::new(0), task: Arc::default() }
    }
}

impl Bell {
    /// Begins to listen on the one connection of `pool`.
    pub(super) fn hang(&self, pool: PgPool) {
        let rings = self.rings.clone();
        let task = tokio::spawn(async move {
            loop {
                let Err(error) = listen(&pool, &rings).await;
                debug!(error = &error as &dyn std::error::Error, "news are not heard, listening again");
                sleep(AGAIN_AFTER).await;
            }
        });
        self.put(Some(AbortOnDropHandle::new(task)));
    }

    pub(super) fn silence(&self) {
        self.put(None);
    }

    pub(super) fn rings(&self) -> watch::Receiver<u64> {
        self.rings.subscribe()
    }

    fn put(&self, task: Option<AbortOnDropHandle<()>>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = task;
    }
}

async fn listen(pool: &PgPool, rings: &watch::Sender<u64>) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Also when it was connected anew: something may have been missed.
        rings.send_modify(|rings| *rings += 1);
        while timeout(PROVE_EVERY, listener.try_recv())
            .await
            .map_or(Ok(true), |heard| heard.map(|_| false))?
        {
            let proof = timeout(PROVE_WITHIN, sqlx::query("SELECT 1").execute(&mut listener)).await;
            proof.map_err(|_| sqlx::Error::PoolTimedOut)??;
        }
    }
}
