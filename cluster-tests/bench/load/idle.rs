//! Sessions that are held, so that memory can be looked at from outside.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use super::{MESSAGE, open_and_use, round_trip};
use crate::HELD;

/// Sessions that are opened, or asked again, at the same time.
const AT_ONCE: usize = 64;

/// Opens all, says so with a line on stdout, waits for a line on stdin, and sees whether each still answers.
pub(super) async fn run(address: SocketAddr, sessions: usize) -> Result<Value> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let opens = (0..sessions).map(|_| with_slot(slots.clone(), open_and_use(address)));
    let held: Vec<TcpStream> = all(opens).await.context("opening idle sessions")?;
    #[expect(clippy::print_stdout, reason = "the bench waits for it")]
    {
        println!("{HELD}");
    }
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await?;

    let again = held.into_iter().map(|mut socket| {
        with_slot(slots.clone(), async move { round_trip(&mut socket, &[b'i'; MESSAGE]).await })
    });
    let answered = all(again).await.context("asking sessions that were idle")?.len();
    Ok(json!({"sessions": sessions, "answered": answered}))
}

async fn with_slot<T>(slots: Arc<Semaphore>, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let _slot = slots.acquire_owned().await.map_err(io::Error::other)?;
    step.await
}

async fn all<T: Send + 'static>(
    steps: impl Iterator<Item: Future<Output = io::Result<T>> + Send + 'static>,
) -> io::Result<Vec<T>> {
    let mut tasks: JoinSet<_> = steps.collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        results.push(ended.map_err(io::Error::other)??);
    }
    Ok(results)
}
