//! Hearing at once that another gateway has changed something.
//!
//! PostgreSQL tells whoever listens. A connection that broke, or one through which nothing comes any more, is given up for a
//! fresh one, which waits for nothing of the former. What is missed meanwhile is found by whoever looks at [`Store::news`](crate::store::Store::news) now and then.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::postgres::PgListener;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::{gateways::CHANNEL, postgres};
use crate::config::PostgresUrl;

const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a connection is believed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// It must listen within this time.
    listen_within: Duration,
    /// When it said nothing for so long it has to show that it can,
    prove_every: Duration,
    /// within this time.
    prove_within: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            listen_within: Duration::from_secs(10),
            prove_every: Duration::from_secs(20),
            prove_within: Duration::from_secs(5),
        }
    }
}

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
    /// Begins to listen, on a connection of its own.
    pub(super) fn hang(&self, url: PostgresUrl, patience: Patience) {
        let rings = self.rings.clone();
        let task = tokio::spawn(async move {
            loop {
                let Err(error) = listen(&url, patience, &rings).await;
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

async fn listen(
    url: &PostgresUrl,
    patience: Patience,
    rings: &watch::Sender<u64>,
) -> sqlx::Result<Infallible> {
    let silent = |_| sqlx::Error::PoolTimedOut;
    // Of a listener that was dropped, the pool keeps the connection until the server has heard of that, or for ever.
    let pool = postgres::lone_connection(url)?;
    let begin = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let mut listener = timeout(patience.listen_within, begin).await.map_err(silent)??;
    listener.eager_reconnect(false);
    // Something may have been missed before.
    rings.send_modify(|rings| *rings += 1);
    loop {
        match timeout(patience.prove_every, listener.try_recv()).await {
            Ok(Ok(Some(_))) => rings.send_modify(|rings| *rings += 1),
            Ok(Ok(None)) => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let proof = sqlx::query("SELECT 1").execute(&mut listener);
                timeout(patience.prove_within, proof).await.map_err(silent)??;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::net::{TcpListener, TcpStream};
    use warren_cluster_tests::Postgres;

    use super::*;
    use crate::config::StoreLocation;

    /// Lets through what comes on any connection but the first, whose bytes go nowhere after `frozen`.
    async fn relay(to: u16, frozen: watch::Receiver<bool>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counts = count.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let is_first = counts.fetch_add(1, Relaxed) == 0;
                let mut frozen = frozen.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    let freeze = async { drop(frozen.wait_for(|frozen| *frozen && is_first).await) };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        // Nobody is told that it is over.
                        () = freeze => std::future::pending().await,
                    }
                });
            }
        });
        (port, count)
    }

    #[tokio::test]
    async fn a_connection_that_has_fallen_silent_is_given_up_for_a_fresh_one() {
        let Some(server) = Postgres::start(&["listen_addresses=127.0.0.1"]) else { return };
        server.database("bell");
        let (freeze, frozen) = watch::channel(false);
        let (port, connections) = relay(server.port(), frozen).await;
        let location = format!("postgres://warren@127.0.0.1:{port}/bell?sslmode=disable");
        let StoreLocation::Postgres(url) = location.parse().unwrap() else { panic!("not PostgreSQL") };
        let moment = Duration::from_millis(200);
        let patience = Patience { prove_every: moment, prove_within: moment, ..Patience::default() };
        let bell = Bell::default();
        let mut rings = bell.rings();
        bell.hang(url, patience);
        let rung = async |rings: &mut watch::Receiver<u64>| {
            timeout(Duration::from_secs(10), rings.changed()).await.expect("it does not ring").unwrap();
        };
        rung(&mut rings).await;
        freeze.send_replace(true);
        rung(&mut rings).await;
        assert_eq!(connections.load(Relaxed), 2);
    }
}
