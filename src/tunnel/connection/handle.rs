//! The application's grip on a tunnel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Incoming, OpenAnswer, OpenError, Port, SessionError, SessionStream,
    shared::{Shared, now},
    slot::Slot,
};
use crate::{
    frame::{CloseReason, Hello, OpenRequest, ResetReason},
    machine::{Liveness, Tunnel},
    metrics,
};

/// Session ids are unique in a gateway process, so that a session keeps its id when it changes tunnels.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tunnel closed{}: {reason}: {detail}", if *by_peer { " by the peer" } else { "" })]
pub struct Closed {
    pub reason: CloseReason,
    pub detail: String,
    pub by_peer: bool,
}

/// The peer's wish for no new sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerDrain {
    /// When the peer cuts what is still open.
    pub deadline: Instant,
    pub detail: String,
}

/// What changes about a tunnel while it lives. See [`Handle::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Present once the tunnel is ready.
    pub peer: Option<Hello>,
    pub liveness: Liveness,
    pub peer_drain: Option<PeerDrain>,
    /// Our own drain is done and cut so many sessions.
    pub drained: Option<usize>,
    pub closed: Option<Closed>,
}

impl Default for Status {
    fn default() -> Self {
        Self { peer: None, liveness: Liveness::Alive, peer_drain: None, drained: None, closed: None }
    }
}

/// Numbers of a tunnel at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    pub liveness: Liveness,
    /// Smoothed; none before the first pong.
    pub rtt: Option<Duration>,
    pub sessions: usize,
    /// Sessions whose open has no answer yet; part of `sessions`.
    pub pending_opens: usize,
    /// Sessions of the whole bundle that wait for a tunnel.
    pub parked: usize,
    /// Bytes below TLS, with all framing.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub peer: Option<Hello>,
    pub draining: bool,
    pub peer_draining: bool,
}

/// Opens and accepts sessions on one tunnel. Cheap to clone; dropping it does not end the tunnel.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    port: Arc<Port>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, port: Arc<Port>) -> Self {
        Self { shared, port }
    }

    /// Waits for the peer's hello, at most as long as the configuration gives it.
    pub async fn ready(&self) -> Result<Hello, Closed> {
        let mut status = self.status();
        let change = status.wait_for(|status| status.peer.is_some() || status.closed.is_some()).await;
        let seen = change.map_or_else(|_| self.port.status.borrow().clone(), |status| status.clone());
        match seen {
            Status { closed: Some(closed), .. } => Err(closed),
            Status { peer: Some(peer), .. } => Ok(peer),
            Status { .. } => {
                unreachable!("wait_for returns when one of both is there, and we hold the sender")
            }
        }
    }

    /// Gateway: opens a session and waits for the agent's answer. Dropping the future gives the open up.
    pub async fn open(&self, request: OpenRequest) -> Result<SessionStream, OpenError> {
        let (stream, answer) = self.open_early(request).await?;
        answer.await?;
        Ok(stream)
    }

    /// Gateway: asks for a session and gives its stream at once, so that first bytes leave with the open, and the answer to
    /// wait for. When the answer is an error, the stream fails too.
    pub async fn open_early(&self, request: OpenRequest) -> Result<(SessionStream, OpenAnswer), OpenError> {
        self.ready().await.map_err(OpenError::TunnelLost)?;
        let key = self.port.key;
        self.shared.with(key, |state| {
            if let Some(closed) = state.closed(key) {
                return Err(OpenError::TunnelLost(closed.clone()));
            }
            // Under the lock, so that ids rise on every tunnel.
            let session = NEXT_SESSION.fetch_add(1, Relaxed);
            match state.bundle.open(key, session, request, now()) {
                Ok(()) => {
                    let slot = Slot::default();
                    let stream = SessionStream::new(self.shared.clone(), session, slot.meter.clone());
                    state.slots.insert(session, slot);
                    Ok((stream, OpenAnswer::new(self.shared.clone(), session)))
                }
                Err(refusal) => {
                    metrics::opened(refusal.result);
                    Err(OpenError::Answered { result: refusal.result, detail: refusal.detail.to_owned() })
                }
            }
        })
    }

    /// Agent: the next session that the gateway asks for; none once the tunnel has ended.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let told = self.port.incoming.notified();
            {
                let mut state = self.shared.lock();
                let waiting = state.ends.get_mut(&self.port.key).map(|end| &mut end.incoming);
                if let Some((waiting, (session, request))) =
                    waiting.and_then(|waiting| waiting.pop_front().map(|first| (waiting, first)))
                {
                    if !waiting.is_empty() {
                        // One permit may stand for several: pass it on to whoever else accepts.
                        self.port.incoming.notify_one();
                    }
                    return Some(Incoming::new(self.shared.clone(), session, request));
                }
                if self.port.status.borrow().closed.is_some() {
                    state.forget_end(self.port.key);
                    self.port.incoming.notify_one();
                    return None;
                }
            }
            told.await;
        }
    }

    /// Cuts one session, whoever holds it. Does nothing when it is over.
    pub fn reset(&self, session: u64, reason: ResetReason, detail: &str) {
        let mut wakers = Vec::new();
        self.shared.with_session(session, |state| {
            state.bundle.reset(session, reason, detail);
            if let Some(slot) = state.slots.get_mut(&session) {
                let error = SessionError { reason, detail: detail.to_owned(), by_peer: false };
                slot.fail(error, &mut wakers);
            }
        });
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Asks the peer for no new sessions, waits for those that exist until `deadline`, then cuts them. Gives the number cut.
    /// The tunnel itself stays up; close it afterwards.
    pub async fn drain(&self, deadline: Duration, detail: &str) -> usize {
        let key = self.port.key;
        self.shared.with(key, |state| {
            state.bundle.act(key, now(), |tunnel| tunnel.drain(deadline, detail, now()));
        });
        let mut status = self.status();
        let done = status.wait_for(|status| status.drained.is_some() || status.closed.is_some()).await;
        done.ok().and_then(|status| status.drained).unwrap_or(0)
    }

    /// Ends the tunnel and tells the peer why. [`closed`](Self::closed) says when that is done.
    pub fn close(&self, reason: CloseReason, detail: &str) {
        let key = self.port.key;
        self.shared.with(key, |state| {
            state.bundle.act(key, now(), |tunnel| tunnel.close(reason, detail));
        });
    }

    /// Waits until the tunnel carries nothing any more.
    pub async fn closed(&self) -> Closed {
        let mut status = self.status();
        let closed = status
            .wait_for(|status| status.closed.is_some())
            .await
            .ok()
            .and_then(|status| status.closed.clone());
        closed.expect("wait_for returns when it is there, and we hold the sender")
    }

    /// Follows ready, suspect, drains and the end.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.port.status.subscribe()
    }

    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        let (key, parked) = (self.port.key, state.bundle.parked());
        let (bytes_in, bytes_out) = state.ends.get(&key).map_or((0, 0), |end| (end.bytes_in, end.bytes_out));
        let tunnel = state.bundle.tunnel(key);
        Stats {
            liveness: tunnel.map_or(Liveness::Dead, Tunnel::liveness),
            rtt: tunnel.and_then(Tunnel::rtt),
            sessions: tunnel.map_or(0, Tunnel::sessions),
            pending_opens: tunnel.map_or(0, Tunnel::unanswered),
            parked,
            bytes_in,
            bytes_out,
            peer: tunnel.and_then(Tunnel::peer).copied(),
            draining: tunnel.is_some_and(Tunnel::is_draining),
            peer_draining: tunnel.is_some_and(Tunnel::is_peer_draining),
        }
    }
}
