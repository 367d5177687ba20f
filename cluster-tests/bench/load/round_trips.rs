//! Requests on sessions that last, each session with one under way.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use super::{MESSAGE, open, round_trip};
use crate::{stats::Times, wire::Request};

const WARM_UP: Duration = Duration::from_millis(300);

pub(super) async fn run(address: SocketAddr, sessions: usize, time: Duration) -> io::Result<Value> {
    let mut sockets = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        sockets.push(open(address, Request::Echo).await?);
    }
    let from = Instant::now() + WARM_UP;
    let mut tasks = JoinSet::new();
    for socket in sockets {
        tasks.spawn(session(socket, from, from + time));
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended.map_err(io::Error::other)??);
    }
    let times = Times::new(times);
    Ok(json!({"per_s": times.count() as f64 / time.as_secs_f64(), "times": times.to_json()}))
}

/// The times of requests that began between `from` and `to`.
async fn session(mut socket: TcpStream, from: Instant, to: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        if start >= to {
            return Ok(times);
        }
        round_trip(&mut socket, &[b'q'; MESSAGE]).await?;
        if start >= from {
            times.push(start.elapsed());
        }
    }
}
