//! A session as its tunnel sees it.

use std::time::Instant;

use bytes::Bytes;

use super::{Config, NotSent, Received};
use crate::{
    frame::SessionKind,
    session::{CreditDue, Session},
};

/// What a writer may queue while the budget is spent: enough to go on, too little to make it worse.
const SPENT_QUEUE_MAX: usize = 16 * 1024;

/// A session and where it is in its life. Moves whole from one tunnel to another.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    pub(super) phase: SessionPhase,
    pub(super) kind: SessionKind,
    /// The application let go of it; what remains is sent and then forgotten.
    pub(super) released: bool,
    /// Gateway: its tunnel ended before the open had left, so that the agent cannot have heard of it.
    pub(super) unasked: bool,
    /// A reader found nothing and waits for [`Event::Readable`](super::Event::Readable).
    pub(super) reader_waits: bool,
    /// A writer found no room and waits for [`Event::Writable`](super::Event::Writable).
    pub(super) writer_waits: bool,
    pub(super) credit_listed: CreditDue,
    pub(super) lane: Lane,
    /// The batch that last carried it, and how many of its frames.
    pub(super) batch: (u64, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionPhase {
    /// Gateway: asked for, not answered.
    Opening {
        deadline: Instant,
    },
    /// Agent: asked for, not answered.
    Offered,
    Open,
    /// Gateway: asked to go on here, not answered; `opening` when its open was not answered before either.
    Resuming {
        opening: Option<Instant>,
    },
    /// The tunnel is gone, but all of the peer's bytes had come and may be read, and it has all of ours.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    None,
    Sparse,
    Bulk,
}

impl SessionPhase {
    pub(super) fn open_deadline(self) -> Option<Instant> {
        match self {
            Self::Opening { deadline } => Some(deadline),
            Self::Resuming { opening } => opening,
            Self::Offered | Self::Open | Self::Lost => None,
        }
    }

    /// Its open has no answer yet.
    pub(super) fn is_unanswered(self) -> bool {
        self == Self::Offered || self.open_deadline().is_some()
    }
}

impl Entry {
    pub(super) fn new(session: Session, kind: SessionKind, phase: SessionPhase) -> Self {
        Self {
            session,
            phase,
            kind,
            released: false,
            unasked: false,
            reader_waits: false,
            writer_waits: false,
            credit_listed: CreditDue::No,
            lane: Lane::None,
            batch: (0, 0),
        }
    }

    /// Forgets what its last tunnel knew of it.
    pub(super) fn detach(&mut self) {
        self.phase = match self.phase {
            SessionPhase::Resuming { opening: Some(deadline) } => SessionPhase::Opening { deadline },
            SessionPhase::Resuming { opening: None } => SessionPhase::Open,
            phase => phase,
        };
        (self.credit_listed, self.lane, self.batch) = (CreditDue::No, Lane::None, (0, 0));
    }

    /// Both directions have ended and been read here; only the peer may not know it yet.
    pub(super) fn is_done(&self) -> bool {
        self.session.is_send_finished() && self.session.is_recv_finished()
    }

    /// It was answered, all of the peer's bytes have come, and the peer has all of ours.
    pub(super) fn is_whole(&self) -> bool {
        let answered = !self.phase.is_unanswered();
        answered && self.session.is_recv_complete() && self.session.unacknowledged() == 0
    }

    /// Let go of now, it would still come to its proper end.
    pub(super) fn may_linger(&self) -> bool {
        self.phase != SessionPhase::Lost && self.session.is_send_finished() && self.session.is_recv_complete()
    }

    /// Unsent bytes that it may hold now.
    pub(super) fn queue_max(&self, config: &Config) -> usize {
        let max = config.send_queue_max;
        if self.session.budget().is_spent() { max.min(SPENT_QUEUE_MAX) } else { max }
    }

    /// Bytes that [`send`](Self::send) would take now.
    pub(super) fn send_room(&mut self, config: &Config) -> Result<usize, NotSent> {
        self.check_sending()?;
        let room = self.queue_max(config).saturating_sub(self.session.queued());
        self.writer_waits = room == 0;
        Ok(room)
    }

    /// Queues the head of `bytes`, as much as there is room for, and gives the count.
    pub(super) fn send(&mut self, bytes: &mut Bytes, config: &Config) -> Result<usize, NotSent> {
        self.check_sending()?;
        let count = self.session.push(bytes, self.queue_max(config));
        self.writer_waits = count == 0 && !bytes.is_empty();
        Ok(count)
    }

    /// The next received bytes, at most `max`.
    pub(super) fn recv(&mut self, max: usize, now: Instant) -> Received {
        match self.session.take(max, now) {
            Some(bytes) => Received::Bytes(bytes),
            None if self.session.is_recv_finished() => Received::Finished,
            None => {
                self.reader_waits = true;
                Received::Nothing
            }
        }
    }

    fn check_sending(&self) -> Result<(), NotSent> {
        match self.phase {
            SessionPhase::Lost => Err(NotSent::Gone),
            _ if self.session.is_send_finished() => Err(NotSent::Finished),
            _ => Ok(()),
        }
    }
}
