//! Proof that a tunnel carries data, and not only pings.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    connection::{Handle, OpenError, SessionStream},
    frame::{OpenRequest, ResetReason},
};

/// Bytes of one check.
const CHECK_LEN: usize = 64;
/// An echo that is asked for more is no check.
const ECHO_MAX: u64 = 64 * 1024;

/// Why a tunnel failed its check.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    #[error("echo not opened")]
    Open(#[from] OpenError),
    #[error("echo took longer than {0:?}")]
    Timeout(Duration),
    #[error("echo was cut")]
    Cut(#[from] std::io::Error),
    #[error("echo came back changed")]
    Changed,
}

/// Agent: sends back what comes, up to 64 KiB, until it ends.
pub async fn serve_echo(stream: SessionStream) {
    let meter = stream.meter();
    while let Ok(Some(bytes)) = stream.recv_bytes().await {
        if meter.received() > ECHO_MAX {
            stream.reset(ResetReason::Overflow, "the echo takes 64 KiB at most");
            return;
        }
        if stream.send_bytes(bytes).await.is_err() {
            return;
        }
    }
    stream.finish();
}

/// Gateway: opens the echo, sends random bytes and compares what comes back. Gives the time that took.
pub async fn check_echo(handle: &Handle, within: Duration) -> Result<Duration, EchoError> {
    let start = Instant::now();
    match timeout(within, exchange(handle, within)).await {
        Ok(result) => result.map(|()| start.elapsed()),
        Err(_) => Err(EchoError::Timeout(within)),
    }
}

async fn exchange(handle: &Handle, within: Duration) -> Result<(), EchoError> {
    let mut sent = [0; CHECK_LEN];
    rand::rng().fill(&mut sent);
    let (mut stream, answer) =
        handle.open_early(OpenRequest { deadline: within, ..OpenRequest::echo() }).await?;
    stream.send_bytes(Bytes::copy_from_slice(&sent)).await?;
    stream.shutdown().await?;
    answer.await?;
    let mut back = Vec::with_capacity(CHECK_LEN);
    // One byte more than was sent, so that too much is seen too.
    (&mut stream).take(CHECK_LEN as u64 + 1).read_to_end(&mut back).await?;
    if back == sent { Ok(()) } else { Err(EchoError::Changed) }
}
