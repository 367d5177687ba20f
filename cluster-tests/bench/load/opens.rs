//! Sessions as a busy site makes them: connect, one request, its answer, close.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::open_and_use;
use crate::stats::Times;

/// Stops after `count_max` sessions or `time`, whichever comes first; those under way are finished and counted.
pub(super) async fn run(
    address: SocketAddr,
    at_once: usize,
    count_max: usize,
    time: Duration,
) -> io::Result<Value> {
    let start = Instant::now();
    let left = Cell::new(count_max);
    let worker = || async {
        let mut times = Vec::new();
        while left.get() > 0 && start.elapsed() < time {
            left.set(left.get() - 1);
            let began = Instant::now();
            drop(open_and_use(address).await?);
            times.push(began.elapsed());
        }
        Ok::<_, io::Error>(times)
    };
    let times = try_join_all((0..at_once).map(|_| worker())).await?;
    let seconds = start.elapsed().as_secs_f64();
    let times = Times::new(times.concat());
    Ok(json!({"per_s": times.count() as f64 / seconds, "times": times.to_json()}))
}
