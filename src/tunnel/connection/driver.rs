//! The one task of a tunnel.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until},
};
use tracing::{debug, trace, warn};

use super::{
    Closed, Port,
    shared::{Aftermath, Shared, State, now},
    wire::{Arrival, Wire},
};
use crate::{
    frame::{CloseReason, Frame},
    machine::{ProtocolError, Role, Tunnel},
    metrics::{self, Traffic},
};

/// Bytes read, and written, before other tasks get their turn.
const TURN_MAX: usize = 64 * 1024;
/// Bytes in one batch: all that is ever queued in front of the stream.
const BATCH_MAX: usize = 128 * 1024;

/// Moves bytes between the stream and the machine until the tunnel ends; resolves to how it did. Spawn it, or poll it along
/// with something else. Dropping it ends the tunnel at once.
#[derive(Debug)]
#[must_use = "nothing moves unless the driver is polled"]
pub struct Driver<S> {
    wire: Wire<S>,
    role: Role,
    shared: Arc<Shared>,
    port: Arc<Port>,
    timer: Pin<Box<Sleep>>,
    frames: Vec<Frame>,
    after: Aftermath,
    phase: Phase,
    /// The peer has ended the stream below us.
    peer_ended: bool,
    /// In and out.
    traffic: [Traffic; 2],
    bytes: (u64, u64),
    frames_counted: (u64, u64),
    crowd: Crowd,
}

/// Whether many sessions say little at the same time. Then the driver lets the others that are ready speak first, so that
/// what they say leaves in one write instead of one each.
#[derive(Debug, Default)]
struct Crowd {
    /// Frames of late batches, sixteenths; 0 when they were large.
    frames: u64,
    /// The others had their turn.
    waited: bool,
}

impl Crowd {
    /// Below this, frames are small.
    const SMALL: usize = 4 * 1024;
    /// One and a half frames in each batch.
    const ENOUGH: u64 = 24;

    fn note(&mut self, frames: u64, bytes: usize) {
        let small = bytes < Self::SMALL * frames.max(1) as usize;
        self.frames = if small { (self.frames * 3 + frames.min(64) * 16) / 4 } else { 0 };
    }

    /// True once before each batch of a crowd.
    fn should_wait(&mut self) -> bool {
        self.waited = !self.waited && self.frames >= Self::ENOUGH;
        self.waited
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Bytes that were read before the tunnel began have not been looked at.
    Fresh,
    Running,
    /// The tunnel has ended; the last frames leave, within this time.
    Parting {
        until: Instant,
    },
    /// Ours is said, the peer's end is awaited, so that a reset does not overtake our last frame.
    Lingering {
        until: Instant,
    },
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// `frames` were read before and have not been looked at.
    pub(super) fn new(
        wire: Wire<S>,
        frames: Vec<Frame>,
        role: Role,
        shared: Arc<Shared>,
        port: Arc<Port>,
    ) -> Self {
        Self {
            wire,
            role,
            shared,
            port,
            timer: Box::pin(sleep_until(Instant::now())),
            frames,
            after: Aftermath::default(),
            phase: Phase::Fresh,
            peer_ended: false,
            traffic: [Traffic::of("in"), Traffic::of("out")],
            bytes: (0, 0),
            frames_counted: (0, 0),
            crowd: Crowd::default(),
        }
    }

    /// Reads until nothing is there or the turn is over; true when more may be there.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut turn = 0;
        while turn < TURN_MAX {
            if matches!(self.phase, Phase::Parting { .. } | Phase::Lingering { .. } | Phase::Done) {
                self.peer_ended |= self.phase != Phase::Done && self.wire.poll_discard(cx).is_ready();
                return false;
            }
            let arrival = if self.phase == Phase::Fresh {
                self.phase = Phase::Running;
                self.wire.take_early(&mut self.frames)
            } else {
                match self.wire.poll_read(cx, &mut self.frames) {
                    Poll::Ready(Ok(arrival)) => arrival,
                    Poll::Ready(Err(error)) => {
                        self.lose(&format!("cannot read: {error}"));
                        return false;
                    }
                    Poll::Pending => return false,
                }
            };
            turn += self.take_in(arrival);
        }
        true
    }

    /// Gives the frames to the machine; gives the count of bytes.
    fn take_in(&mut self, arrival: Result<Arrival, ProtocolError>) -> usize {
        let (now, role, key) = (now(), self.role, self.port.key);
        let mut fault = None;
        let count = self.act(|state, frames| {
            for frame in frames.drain(..) {
                trace!(?role, frame = frame.name(), session = frame.session(), "received");
                fault = fault.take().or(state.bundle.handle_frame(key, frame, now).err());
            }
            match arrival {
                Ok(Arrival::Bytes(count)) => return count,
                Ok(Arrival::End) => {
                    state.bundle.act(key, now, |tunnel| tunnel.lost("the peer closed the connection"));
                }
                Err(error) => {
                    let ended = state.bundle.act(key, now, |tunnel| {
                        let ended = tunnel.is_ended();
                        tunnel.fail(&error);
                        ended
                    });
                    fault = fault.take().or_else(|| (ended == Some(false)).then_some(error));
                }
            }
            0
        });
        self.bytes.0 += count as u64;
        self.traffic[0].bytes.increment(count as u64);
        if let Some(error) = fault {
            metrics::protocol_error();
            warn!(?role, error = error.chain(), "peer broke the protocol");
        }
        self.note_end();
        count
    }

    /// Writes until nothing waits, the stream is full or the turn is over; true when more waits and would be taken.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut turn = 0;
        while turn < TURN_MAX && self.phase != Phase::Done {
            if !self.wire.has_batch() && !self.fill() {
                if let Poll::Ready(Err(error)) = self.wire.poll_flush(cx) {
                    self.lose(&format!("cannot write: {error}"));
                }
                return false;
            }
            match self.wire.poll_write(cx) {
                Poll::Ready(Ok(count)) => {
                    turn += count;
                    self.bytes.1 += count as u64;
                    self.traffic[1].bytes.increment(count as u64);
                }
                Poll::Ready(Err(error)) => self.lose(&format!("cannot write: {error}")),
                Poll::Pending => return false,
            }
        }
        self.phase != Phase::Done
    }

    /// Makes the next batch; false when there is nothing to say, or nobody to say it to: a caller must not be sent along a
    /// tunnel whose end has come and waits to be read, and a runtime that is busy looks at its sockets now and then only.
    fn fill(&mut self) -> bool {
        let mut state = self.shared.lock();
        let key = self.port.key;
        if state.bundle.tunnel(key).is_some_and(Tunnel::is_about_to_ask) && self.wire.has_ended() {
            drop(state);
            self.lose("the peer has closed the connection");
            return false;
        }
        let frames = |state: &State| state.bundle.tunnel(key).map_or(0, |tunnel| tunnel.frames().1);
        let (before, mut bytes) = (frames(&state), 0);
        let filled = self.wire.fill(|batch| {
            bytes = state.bundle.poll_transmit(key, now(), BATCH_MAX, batch);
            bytes
        });
        if filled {
            self.crowd.note(frames(&state) - before, bytes);
        }
        state.dispatch(key, &mut self.after);
        drop(state);
        self.shared.finish(&self.port, &mut self.after);
        filled
    }

    /// The stream is broken: nothing can be said or heard on it.
    fn lose(&mut self, detail: &str) {
        let key = self.port.key;
        self.act(|state, _| state.bundle.act(key, now(), |tunnel| tunnel.lost(detail)));
        self.phase = Phase::Done;
    }

    fn handle_timeout(&mut self) {
        let key = self.port.key;
        self.act(|state, _| state.bundle.handle_timeout(key, now()));
    }

    /// Does something to the machine and carries out what follows from it.
    fn act<T>(&mut self, act: impl FnOnce(&mut State, &mut Vec<Frame>) -> T) -> T {
        let mut state = self.shared.lock();
        let result = act(&mut state, &mut self.frames);
        state.dispatch(self.port.key, &mut self.after);
        drop(state);
        self.shared.finish(&self.port, &mut self.after);
        result
    }

    /// Moves towards the end of the stream once the tunnel has ended.
    fn note_end(&mut self) {
        if matches!(self.phase, Phase::Fresh | Phase::Running) {
            let state = self.shared.lock();
            if let Some(tunnel) = state.bundle.tunnel(self.port.key).filter(|tunnel| tunnel.is_ended()) {
                self.phase = Phase::Parting { until: Instant::now() + tunnel.config().close_within };
            }
        }
    }

    /// Says goodbye below the frames, too, and waits for the peer's.
    fn part(&mut self, cx: &mut Context<'_>) {
        self.note_end();
        if let Phase::Parting { until } = self.phase
            && !self.wire.has_batch()
            && self.is_closed()
        {
            let shut = match self.wire.poll_close(cx) {
                Poll::Ready(result) => Some(result.is_err()),
                Poll::Pending => None,
            };
            match shut {
                Some(true) => self.phase = Phase::Done,
                Some(false) => self.phase = Phase::Lingering { until },
                None => {}
            }
        }
        match self.phase {
            Phase::Lingering { .. } if self.peer_ended => self.phase = Phase::Done,
            Phase::Parting { until } | Phase::Lingering { until } if Instant::now() >= until => {
                self.phase = Phase::Done;
            }
            _ => {}
        }
    }

    /// Sets the timer to the next thing due; true when that is now.
    fn arm(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        let key = self.port.key;
        let next = state.arm(key, self.bytes);
        let (frames_in, frames_out) = state.bundle.tunnel(key).map_or((0, 0), Tunnel::frames);
        drop(state);
        self.traffic[0].frames.increment(frames_in - self.frames_counted.0);
        self.traffic[1].frames.increment(frames_out - self.frames_counted.1);
        self.frames_counted = (frames_in, frames_out);
        let due = match self.phase {
            Phase::Parting { until } | Phase::Lingering { until } => Some(until),
            Phase::Fresh | Phase::Running | Phase::Done => next.map(Instant::from_std),
        };
        let Some(due) = due else { return false };
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn is_closed(&self) -> bool {
        self.shared.lock().bundle.tunnel(self.port.key).is_none_or(Tunnel::is_closed)
    }

    fn closed(&self) -> Closed {
        let closed = self.shared.lock().closed(self.port.key).cloned();
        closed.unwrap_or_else(|| Closed {
            reason: CloseReason::NotAlive,
            detail: "the driver was stopped".to_owned(),
            by_peer: false,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Driver<S> {
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = self.get_mut();
        this.shared.lock().park(this.port.key, cx);
        if this.crowd.should_wait() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.handle_timeout();
        loop {
            let more_in = this.read(cx);
            let more_out = this.write(cx);
            let before = this.phase;
            this.part(cx);
            if this.phase == Phase::Done {
                return Poll::Ready(this.closed());
            }
            if this.arm(cx) {
                this.handle_timeout();
            } else if more_in || more_out {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            } else if this.phase == before {
                return Poll::Pending;
            }
        }
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        let key = self.port.key;
        let mut state = self.shared.lock();
        state.bundle.act(key, now(), |tunnel| tunnel.lost("the driver was stopped"));
        state.dispatch(key, &mut self.after);
        let closed = state.closed(key).cloned();
        state.forget_end(key);
        state.bundle.leave(key);
        drop(state);
        self.shared.finish(&self.port, &mut self.after);
        if let Some(Closed { reason, detail, by_peer }) = closed {
            metrics::closed(reason);
            debug!(role = ?self.role, %reason, detail, by_peer, "tunnel closed");
        }
    }
}
