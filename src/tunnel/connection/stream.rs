//! One session as a byte stream.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Meter,
    shared::{Shared, State, now},
};
use crate::{
    frame::ResetReason,
    machine::{NotSent, Received},
};

/// Most bytes given out at once: more would keep other tasks waiting.
const RECV_MAX: usize = 64 * 1024;

/// Why a session was cut. Found inside the `io::Error`s of [`SessionStream`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session cut{}: {reason}: {detail}", if *by_peer { " by the peer" } else { "" })]
pub struct SessionError {
    pub reason: ResetReason,
    pub detail: String,
    pub by_peer: bool,
}

impl SessionError {
    /// The session error inside an `io::Error`, if it came from a session.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        Self::new(io::ErrorKind::ConnectionReset, error)
    }
}

/// What a tonic service sees of the session that it runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionInfo {
    pub session: u64,
}

/// One session. Shutting down ends the own direction; dropping it before both directions have ended cuts the session.
///
/// One reader and one writer may use it at the same time, also through shared references.
#[derive(Debug)]
pub struct SessionStream {
    shared: Arc<Shared>,
    session: u64,
    meter: Arc<Meter>,
}

impl SessionStream {
    pub(super) fn new(shared: Arc<Shared>, session: u64, meter: Arc<Meter>) -> Self {
        Self { shared, session, meter }
    }

    /// The session's id, the same at both ends.
    pub fn id(&self) -> u64 {
        self.session
    }

    pub fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// The next bytes as they came, uncopied; none at the end.
    pub async fn recv_bytes(&self) -> Result<Option<Bytes>, SessionError> {
        poll_fn(|cx| self.poll_recv_bytes(cx, RECV_MAX)).await
    }

    /// Waits for bytes and appends all that are there, about `max` of them, uncopied; false at the end.
    pub async fn recv_many(&self, max: usize, out: &mut VecDeque<Bytes>) -> Result<bool, SessionError> {
        poll_fn(|cx| self.poll_recv_many(cx, max, out)).await
    }

    fn poll_recv_many(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut VecDeque<Bytes>,
    ) -> Poll<Result<bool, SessionError>> {
        self.shared.with_session(self.session, |state| {
            let (mut count, now) = (0, now());
            let last = loop {
                match state.bundle.recv(self.session, max - count, now) {
                    Received::Bytes(bytes) => {
                        count += bytes.len();
                        out.push_back(bytes);
                        if count == max {
                            break None;
                        }
                    }
                    other => break Some(other),
                }
            };
            if count > 0 {
                self.meter.received.fetch_add(count as u64, Relaxed);
                return Poll::Ready(Ok(true));
            }
            match last {
                Some(Received::Finished) => Poll::Ready(Ok(false)),
                Some(Received::Gone) => Poll::Ready(Err(state.why_gone(self.session))),
                Some(Received::Nothing | Received::Bytes(_)) | None => self.wait_to_read(state, cx),
            }
        })
    }

    /// Hands over all of `bytes`, uncopied, and waits for room meanwhile.
    pub async fn send_bytes(&self, mut bytes: Bytes) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                ready!(self.poll_send_bytes(cx, &mut bytes))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// The next bytes, at most `max`; none at the end.
    pub fn poll_recv_bytes(
        &self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, SessionError>> {
        self.shared.with_session(self.session, |state| match state.bundle.recv(self.session, max, now()) {
            Received::Bytes(bytes) => {
                self.meter.received.fetch_add(bytes.len() as u64, Relaxed);
                Poll::Ready(Ok(Some(bytes)))
            }
            Received::Finished => Poll::Ready(Ok(None)),
            Received::Gone => Poll::Ready(Err(state.why_gone(self.session))),
            Received::Nothing => self.wait_to_read(state, cx),
        })
    }

    /// Hands over the head of `bytes`, as much as there is room for; gives its length, never 0 unless `bytes` is empty.
    pub fn poll_send_bytes(&self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.shared.with_session(self.session, |state| {
            let sent = state.bundle.send(self.session, bytes);
            self.sent(state, cx, sent)
        })
    }

    /// Bytes handed over that the other end's application has not taken yet.
    pub fn unacknowledged(&self) -> u64 {
        self.shared.lock().bundle.unacknowledged(self.session)
    }

    /// Ends the own direction behind what was handed over.
    pub fn finish(&self) {
        self.shared.with_session(self.session, |state| state.bundle.finish(self.session));
    }

    /// Cuts the session in both directions and tells the peer why.
    pub fn reset(&self, reason: ResetReason, detail: &str) {
        self.shared.with_session(self.session, |state| {
            state.bundle.reset(self.session, reason, detail);
            let error = SessionError { reason, detail: detail.to_owned(), by_peer: false };
            state.slots.entry(self.session).or_default().error.get_or_insert(error);
        });
    }

    /// Completes when the session is cut; for watching it while neither direction is used. One watcher at a time. A session
    /// whose tunnel broke after all had come is not cut while there is something to read.
    pub async fn cut(&self) -> SessionError {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let outlives = state.bundle.outlives(self.session);
            let slot = state.slots.entry(self.session).or_default();
            match slot.error.clone() {
                Some(error) if !outlives => Poll::Ready(error),
                _ => {
                    slot.watcher = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn wait_to_read<T>(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result<T, SessionError>> {
        let slot = state.slots.entry(self.session).or_default();
        match &slot.error {
            Some(error) => Poll::Ready(Err(error.clone())),
            None => {
                slot.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// What a send came to: a count, an error, or waiting for room.
    fn sent(
        &self,
        state: &mut State,
        cx: &Context<'_>,
        sent: Result<usize, NotSent>,
    ) -> Poll<io::Result<usize>> {
        match sent {
            Ok(0) => {
                let slot = state.slots.entry(self.session).or_default();
                slot.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Ok(count) => {
                self.meter.sent.fetch_add(count as u64, Relaxed);
                Poll::Ready(Ok(count))
            }
            Err(NotSent::Finished) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "session direction already finished",
            ))),
            Err(NotSent::Gone) => Poll::Ready(Err(state.why_gone(self.session).into())),
        }
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        while buf.remaining() > 0 {
            match self.poll_recv_bytes(cx, buf.remaining()) {
                Poll::Ready(Ok(Some(bytes))) => buf.put_slice(&bytes),
                // What was read before counts; the next read sees the end, the error or the wait again.
                _ if buf.filled().len() > filled => break,
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.shared.with_session(self.session, |state| {
            // Asked first, so that nothing is copied in vain.
            let sent = match state.bundle.send_room(self.session) {
                Ok(room) if room > 0 => {
                    let mut bytes = Bytes::copy_from_slice(&buf[..room.min(buf.len())]);
                    state.bundle.send(self.session, &mut bytes)
                }
                other => other,
            };
            self.sent(state, cx, sent)
        })
    }

    /// Does nothing: what was written leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.shared.with_session(self.session, |state| {
            state.bundle.release(self.session, now());
            state.forget(self.session);
        });
    }
}

impl tonic::transport::server::Connected for SessionStream {
    type ConnectInfo = SessionInfo;

    fn connect_info(&self) -> SessionInfo {
        SessionInfo { session: self.session }
    }
}
