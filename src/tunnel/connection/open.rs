//! Asking for sessions and being asked.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Closed, SessionError, SessionStream,
    shared::{Shared, now},
    slot::Answer,
};
use crate::{
    frame::{OpenRequest, OpenResult},
    metrics,
};

/// Why no session came of an open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The agent, or this end's own limits, said no. Never [`OpenResult::Ok`].
    #[error("{result}: {detail}")]
    Answered { result: OpenResult, detail: String },
    #[error("tunnel lost before the open was asked for")]
    TunnelLost(#[source] Closed),
    #[error("session lost before the open was answered")]
    Cut(#[source] SessionError),
}

impl OpenError {
    /// The answer, if the tunnel lived to bring one.
    pub fn result(&self) -> Option<OpenResult> {
        match self {
            Self::Answered { result, .. } => Some(*result),
            Self::TunnelLost(_) | Self::Cut(_) => None,
        }
    }
}

/// The answer to an open, to be awaited. Dropping it loses the answer, not the session.
#[derive(Debug)]
pub struct OpenAnswer {
    shared: Arc<Shared>,
    session: u64,
}

impl OpenAnswer {
    pub(super) fn new(shared: Arc<Shared>, session: u64) -> Self {
        Self { shared, session }
    }
}

impl Future for OpenAnswer {
    type Output = Result<(), OpenError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        let internal =
            |detail: &str| OpenError::Answered { result: OpenResult::Internal, detail: detail.to_owned() };
        let Some(slot) = state.slots.get_mut(&self.session) else {
            return Poll::Ready(Err(internal("the stream was dropped")));
        };
        match &slot.answer {
            Answer::Pending | Answer::Waited(_) => {
                slot.answer = Answer::Waited(cx.waker().clone());
                Poll::Pending
            }
            Answer::Given(OpenResult::Ok, _) => Poll::Ready(Ok(())),
            Answer::Given(result, detail) => {
                Poll::Ready(Err(OpenError::Answered { result: *result, detail: detail.clone() }))
            }
            Answer::Lost => Poll::Ready(Err(match &slot.error {
                Some(error) => OpenError::Cut(error.clone()),
                None => internal("lost for no known reason"),
            })),
        }
    }
}

/// A session that the gateway asks for. Dropping it unanswered refuses it.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    session: u64,
    request: OpenRequest,
    answered: bool,
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, session: u64, request: OpenRequest) -> Self {
        Self { shared, session, request, answered: false }
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn request(&self) -> &OpenRequest {
        &self.request
    }

    /// Says ok. Bytes that came with the open can be read at once.
    pub fn accept(mut self) -> SessionStream {
        self.answered = true;
        metrics::opened(OpenResult::Ok);
        let (shared, session) = (self.shared.clone(), self.session);
        let meter = shared.with_session(session, |state| {
            state.bundle.accept(session);
            state.slots.entry(session).or_default().meter.clone()
        });
        SessionStream::new(shared, session, meter)
    }

    /// Says no and why. `result` must not be ok.
    pub fn refuse(mut self, result: OpenResult, detail: &str) {
        self.answered = true;
        metrics::opened(result);
        self.shared.with_session(self.session, |state| {
            state.bundle.refuse(self.session, result, detail);
            state.forget(self.session);
        });
    }

    /// Completes when the gateway does not want the session any more, so that a dial can be given up.
    pub async fn cancelled(&self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            match state.slots.get_mut(&self.session) {
                Some(slot) if slot.error.is_none() => {
                    slot.watcher = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.answered {
            metrics::opened(OpenResult::Internal);
            self.shared.with_session(self.session, |state| {
                state.bundle.release(self.session, now());
                state.forget(self.session);
            });
        }
    }
}
