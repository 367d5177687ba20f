//! Streams of blocks that start together.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{PATIENCE, Way, open};
use crate::wire::{GO, Request, damage, receive_blocks, send_blocks};

/// Sessions that are open and have moved nothing yet.
pub(super) struct Streams {
    sockets: Vec<TcpStream>,
    way: Way,
    time: Duration,
    rate: u64,
}

impl Streams {
    /// `time`: how long each stream sends; `rate`: bytes a second of each, 0 for as many as go.
    pub(super) async fn open(
        address: SocketAddr,
        count: usize,
        way: Way,
        time: Duration,
        rate: u64,
    ) -> io::Result<Self> {
        let request = match way {
            Way::Up => Request::Take,
            Way::Down => Request::Give { millis: time.as_millis() as u32, rate },
        };
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            sockets.push(open(address, request).await?);
        }
        Ok(Self { sockets, way, time, rate })
    }

    /// Bytes that have arrived, and the time from the start until the last of them had, on the slowest stream.
    pub(super) async fn run(self) -> io::Result<Value> {
        let Self { sockets, way, time, rate } = self;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(async move {
                let moved = timeout(time + PATIENCE, stream(socket, way, time, rate)).await;
                let late =
                    || io::Error::new(io::ErrorKind::TimedOut, "a bulk stream does not come to its end");
                Ok::<_, io::Error>((moved.map_err(|_| late())??, start.elapsed()))
            });
        }
        let (mut bytes, mut seconds, mut least) = (0, 0_f64, u64::MAX);
        while let Some(ended) = tasks.join_next().await {
            let (moved, took) = ended.map_err(io::Error::other)??;
            bytes += moved;
            least = least.min(moved);
            seconds = seconds.max(took.as_secs_f64());
        }
        Ok(json!({
            "bytes": bytes,
            "seconds": seconds,
            "mb_s": bytes as f64 / 1e6 / seconds,
            "least_stream_bytes": least,
        }))
    }
}

/// Bytes that the far end has counted.
async fn stream(mut socket: TcpStream, way: Way, time: Duration, rate: u64) -> io::Result<u64> {
    match way {
        Way::Up => {
            let sent = send_blocks(&mut socket, time, rate).await?;
            let received = socket.read_u64().await?;
            if received == sent {
                Ok(received)
            } else {
                Err(damage(format!("the target has {received} bytes of {sent}")))
            }
        }
        Way::Down => {
            socket.write_u8(GO).await?;
            receive_blocks(&mut socket).await
        }
    }
}
