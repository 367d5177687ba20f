//! The first word on a stream, so that it is known who is at the other end.

use std::future::poll_fn;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{Closed, Wire, shared::now};
use crate::{
    budget::Budget,
    frame::{CloseReason, Frame, Hello},
    machine::{Config, Event, Role, Tunnel},
};

/// Bytes of the first batch: the hello.
const BATCH_MAX: usize = 4 * 1024;

/// A stream whose ends know each other, to be joined to a bundle.
#[derive(Debug)]
pub struct Greeted<S> {
    pub(super) wire: Wire<S>,
    pub(super) tunnel: Tunnel,
    /// Read behind the hello.
    pub(super) frames: Vec<Frame>,
    /// What the peer said.
    pub peer: Hello,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Greeted<S> {
    /// Before sessions are asked for on it, the stream is looked at by this, since its end may be there and not be read yet. What
    /// was to be asked for then counts as not asked for.
    pub fn look_for_end_by(mut self, has_ended: fn(&S) -> bool) -> Self {
        self.wire.look_for_end_by(has_ended);
        self
    }
}

/// Says hello and waits for the peer's, at most [`Config::hello_within`].
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    read_buf: Bytes,
    role: Role,
    config: Config,
    hello: Hello,
    process: &Budget,
) -> Result<Greeted<S>, Closed> {
    let within = config.hello_within;
    let mut wire = Wire::new(stream, read_buf, role.into());
    let mut tunnel = Tunnel::new(config.clone(), role, hello, process.child(config.budget), now());
    let mut frames = Vec::new();
    let greeted = timeout(within, exchange(&mut wire, &mut tunnel, &mut frames)).await;
    match greeted {
        Ok(Ok(peer)) => Ok(Greeted { wire, tunnel, frames, peer }),
        Ok(Err(closed)) => Err(closed),
        Err(_) => Err(lost(format!("no hello within {within:?}"))),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    tunnel: &mut Tunnel,
    frames: &mut Vec<Frame>,
) -> Result<Hello, Closed> {
    send(wire, tunnel).await?;
    let mut arrival = wire.take_early(frames);
    loop {
        if let Err(error) = arrival {
            tunnel.fail(&error);
        }
        let mut rest = std::mem::take(frames).into_iter();
        for frame in rest.by_ref() {
            // An error has ended the tunnel, which is seen below.
            let _ = tunnel.handle_frame(frame, now());
            if tunnel.is_ready() || tunnel.is_ended() {
                break;
            }
        }
        frames.extend(rest);
        if let Some(peer) = tunnel.peer().copied().filter(|_| tunnel.is_ready()) {
            return Ok(peer);
        }
        if tunnel.is_ended() {
            let closed = closed(tunnel);
            // Says why, if the peer still listens.
            let _ = send(wire, tunnel).await;
            let _ = poll_fn(|cx| wire.poll_close(cx)).await;
            return Err(closed);
        }
        let read = poll_fn(|cx| wire.poll_read(cx, frames)).await;
        arrival = match read {
            Ok(Ok(super::wire::Arrival::End)) => {
                return Err(lost("the peer closed the connection".to_owned()));
            }
            Ok(arrival) => arrival,
            Err(error) => return Err(lost(format!("cannot read: {error}"))),
        };
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    tunnel: &mut Tunnel,
) -> Result<(), Closed> {
    let cannot = |error: std::io::Error| lost(format!("cannot write: {error}"));
    wire.fill(|batch| tunnel.poll_transmit(now(), BATCH_MAX, batch));
    while wire.has_batch() {
        poll_fn(|cx| wire.poll_write(cx)).await.map_err(cannot)?;
    }
    poll_fn(|cx| wire.poll_flush(cx)).await.map_err(cannot)
}

/// How the tunnel ended, by its own events.
fn closed(tunnel: &mut Tunnel) -> Closed {
    while let Some(event) = tunnel.poll_event() {
        if let Event::Closed { reason, detail, by_peer } = event {
            return Closed { reason, detail, by_peer };
        }
    }
    lost("closed before its hello".to_owned())
}

fn lost(detail: String) -> Closed {
    Closed { reason: CloseReason::NotAlive, detail, by_peer: false }
}
