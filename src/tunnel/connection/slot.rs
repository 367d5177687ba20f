//! What the application sees of a session besides its bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use super::SessionError;
use crate::frame::OpenResult;

/// Bytes of a session so far, to be read while it lives.
#[derive(Debug, Default)]
pub struct Meter {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

impl Meter {
    /// Bytes taken from the application to be sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes given to the application.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }
}

/// A session that the application holds: as an incoming, an answer to wait for, or a stream.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Waits for the session to be cut.
    pub(super) watcher: Option<Waker>,
    pub(super) answer: Answer,
    pub(super) error: Option<SessionError>,
    pub(super) meter: Arc<Meter>,
}

/// How its open was answered.
#[derive(Debug, Default)]
pub(super) enum Answer {
    #[default]
    Pending,
    Waited(Waker),
    Given(OpenResult, String),
    /// It was cut before.
    Lost,
}

impl Slot {
    /// Notes the first error and wakes all who wait.
    pub(super) fn fail(&mut self, error: SessionError, wakers: &mut Vec<Waker>) {
        self.error.get_or_insert(error);
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
        wakers.extend(self.watcher.take());
    }

    pub(super) fn answer(&mut self, answer: Answer, wakers: &mut Vec<Waker>) {
        match &self.answer {
            Answer::Pending => self.answer = answer,
            Answer::Waited(_) => {
                if let Answer::Waited(waker) = std::mem::replace(&mut self.answer, answer) {
                    wakers.push(waker);
                }
            }
            Answer::Given(..) | Answer::Lost => {}
        }
    }
}
