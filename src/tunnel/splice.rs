//! Joins a session to a TCP connection.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    net::Shutdown,
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{TcpStream, tcp::ReadHalf},
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    connection::{SessionError, SessionStream},
    frame::ResetReason,
};

/// Room for one read: starts small, follows what the socket gives.
const READ_MIN: usize = 8 * 1024;
const READ_MAX: usize = 128 * 1024;
/// Bytes, and pieces, in one write.
const WRITE_MAX: usize = 256 * 1024;
const PIECES_MAX: usize = 32;
/// Bytes copied before other tasks get their turn.
const TURN_MAX: usize = 64 * 1024;
/// How long bytes that came from a broken socket may take to reach the other end before the session is cut.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
const SETTLE_POLL: Duration = Duration::from_millis(20);

/// Whether a socket may be one that is reset by whatever closes it, until its end takes that back. Not on macOS, where no
/// option of a socket can be set that was shut down both ways: there, only what this process sees is reset.
pub const RESETS_WHEN_KILLED: bool = !cfg!(target_vendor = "apple");

/// What a splice carried and how it ended.
#[derive(Debug)]
pub struct SpliceReport {
    /// Bytes from the session to the socket.
    pub to_socket: u64,
    /// Bytes from the socket to the session.
    pub from_socket: u64,
    pub end: SpliceEnd,
}

/// How a splice ended.
#[derive(Debug)]
pub enum SpliceEnd {
    /// Both directions came to their end.
    Finished,
    /// The session was cut, by the peer, by the tunnel or at this end; the socket was reset.
    Session(SessionError),
    /// The socket broke; the session was cut.
    Socket(io::Error),
}

/// Copies both ways until both directions have ended, each by itself. An end is passed on as an end and a reset as a
/// reset, never as an end: whatever else closes the socket, be it that this process is killed, resets it
/// ([`RESETS_WHEN_KILLED`]).
/// `on_socket_loss` is what the peer is told when the socket breaks.
pub async fn splice(
    session: SessionStream,
    mut socket: TcpStream,
    on_socket_loss: ResetReason,
) -> SpliceReport {
    let meter = session.meter();
    if RESETS_WHEN_KILLED {
        reset_on_close(&socket, session.id());
    }
    let end = tokio::select! {
        end = carry(&session, &mut socket) => end,
        error = session.cut() => SpliceEnd::Session(error),
    };
    match &end {
        SpliceEnd::Finished if RESETS_WHEN_KILLED => {
            // All was said: what is still on its way may arrive. If that fails, the socket is gone already.
            let _ = SockRef::from(&socket).set_linger(None);
        }
        SpliceEnd::Finished => {}
        SpliceEnd::Session(_) => reset_on_close(&socket, session.id()),
        SpliceEnd::Socket(error) => {
            let detail = error.to_string();
            settle(&session).await;
            session.reset(on_socket_loss, &detail);
        }
    }
    SpliceReport { to_socket: meter.received(), from_socket: meter.sent(), end }
}

/// The other end of the socket must not take a cut for an end.
fn reset_on_close(socket: &TcpStream, session: u64) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(session, %error, "the socket cannot be reset");
    }
}

async fn carry(session: &SessionStream, socket: &mut TcpStream) -> SpliceEnd {
    let ended = Notify::new();
    let (read, write) = socket.split();
    let both = async {
        tokio::try_join!(from_socket(session, read, &ended), to_socket(session, write.as_ref()))
            .map(|_| SpliceEnd::Finished)
    };
    // While it is read, a socket tells of its reset behind its last bytes; afterwards only this does.
    let broken = async {
        ended.notified().await;
        broken(write.as_ref()).await
    };
    tokio::select! {
        end = both => end.unwrap_or_else(|end| end),
        error = broken => SpliceEnd::Socket(error),
    }
}

async fn from_socket(
    session: &SessionStream,
    mut socket: ReadHalf<'_>,
    ended: &Notify,
) -> Result<(), SpliceEnd> {
    let mut room = READ_MIN;
    loop {
        // Taken when there is something to read, so that an idle session holds no buffer.
        socket.readable().await.map_err(SpliceEnd::Socket)?;
        let mut buffer = BytesMut::with_capacity(room);
        loop {
            let free = buffer.capacity();
            let Poll::Ready(read) = read_now(&mut socket, &mut buffer).await else { break };
            match read {
                Ok(0) => {
                    session.finish();
                    ended.notify_one();
                    return Ok(());
                }
                Ok(count) => {
                    if count == free {
                        room = (room * 2).min(READ_MAX);
                    } else if count < room / 4 {
                        room = (room / 2).max(READ_MIN);
                    }
                    session.send_bytes(buffer.split().freeze()).await.map_err(of_session)?;
                    if count < free {
                        // The socket is empty; the buffer is not kept for when it fills again.
                        break;
                    }
                    if buffer.capacity() < room / 4 {
                        buffer.reserve(room);
                    }
                }
                Err(error) => return Err(SpliceEnd::Socket(error)),
            }
        }
    }
}

/// Reads what is there, without waiting. This way of reading knows that the socket is empty when it gave less than there was
/// room for, and spares the call that would only say so.
async fn read_now(socket: &mut ReadHalf<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
    poll_fn(|cx| Poll::Ready(pin!(socket.read_buf(buffer)).poll(cx))).await
}

async fn to_socket(session: &SessionStream, socket: &TcpStream) -> Result<(), SpliceEnd> {
    let mut turn = 0;
    let mut pieces = VecDeque::new();
    while session.recv_many(WRITE_MAX, &mut pieces).await.map_err(SpliceEnd::Session)? {
        turn += write_all(socket, &mut pieces).await.map_err(SpliceEnd::Socket)?;
        // An idle session holds no list.
        pieces.shrink_to(0);
        if turn >= TURN_MAX {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    // A socket that is already gone is no loss: all that it should have was written.
    match SockRef::from(socket).shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(SpliceEnd::Socket(error)),
        _ => Ok(()),
    }
}

/// Writes all pieces, many at once; gives the count of bytes.
async fn write_all(socket: &TcpStream, pieces: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let mut total = 0;
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let used = pieces.len().min(PIECES_MAX);
        for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
            *slice = IoSlice::new(piece);
        }
        let count = match socket.try_write_vectored(&slices[..used]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable().await?;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total += count;
        let mut left = count;
        while let Some(piece) = pieces.front_mut().filter(|_| left > 0) {
            if piece.len() > left {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            pieces.pop_front();
        }
    }
    Ok(total)
}

/// Completes when the socket is reset.
async fn broken(socket: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = socket.ready(Interest::ERROR).await {
            return error;
        }
        match socket.take_error() {
            Ok(Some(error)) | Err(error) => return error,
            // Not an error yet: forget the readiness and wait for the next.
            Ok(None) => {
                let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
        }
    }
}

/// What came from the socket before it broke still arrives; what is for it has nowhere to go.
pub(crate) async fn settle(session: &SessionStream) {
    let discard = async { while let Ok(Some(_)) = session.recv_bytes().await {} };
    let arrive = async {
        while session.unacknowledged() > 0 {
            sleep(SETTLE_POLL).await;
        }
    };
    let both = async {
        tokio::select! {
            () = arrive => {}
            () = async { discard.await; std::future::pending().await } => {}
        }
    };
    let _ = timeout(SETTLE_WITHIN, both).await;
}

fn of_session(error: io::Error) -> SpliceEnd {
    match SessionError::of(&error) {
        Some(cut) => SpliceEnd::Session(cut.clone()),
        None => SpliceEnd::Socket(error),
    }
}

#[cfg(test)]
mod tests;
