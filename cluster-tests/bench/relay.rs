//! A path of some length between the two ends of a tunnel: a TCP relay that hands on what it gets later.
//!
//! It ends TCP on both sides, so it charges a tunnel for its own windows and round trips, not for those of the kernel.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until},
};

const PIECE: usize = 64 << 10;
/// Bytes on their way in one direction of one connection: room for 2.5 GB/s at 25 ms.
const UNDER_WAY_MAX: usize = 64 << 20;
/// Pieces can be small; more of them than this wait in the kernel.
const PIECES_MAX: usize = 64 << 10;

/// Relays to `to` from a free port of the loopback interface, which `listening` is told.
pub(crate) async fn serve(
    to: SocketAddr,
    delay: Duration,
    listening: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr()?);
    loop {
        let (near, _) = listener.accept().await?;
        // The end of one side is the end of the other; who was connected sees it.
        tokio::spawn(relay(near, to, delay));
    }
}

async fn relay(near: TcpStream, to: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::try_join!(carry(near_read, far_write, delay), carry(far_read, near_write, delay))?;
    Ok(())
}

/// One direction. A piece without bytes is the end of the stream, and travels like any other.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let returned = room.clone();
    let take = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = from.read_buf(&mut piece).await?;
            let taken = room.acquire_many(read as u32).await.map_err(io::Error::other)?;
            taken.forget();
            let sent = sender.send((Instant::now() + delay, piece)).await;
            if read == 0 || sent.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let hand_on = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
            returned.add_permits(piece.len());
        }
        Ok(())
    };
    tokio::try_join!(take, hand_on)?;
    Ok(())
}
