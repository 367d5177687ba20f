//! The sending direction of a session.

use bytes::Bytes;

use super::{Chunks, Violation};
use crate::frame::ResumePoint;

/// Bytes on their way out: `queued` has not been sent, `retained` has been sent and not been acknowledged.
///
/// ```text
///      acked            sent               limit
/// ───────┼───────────────┼──────────────────┼───────▶ offset
///        │←─ retained ──▶│←─ queued … (may be sent up to limit)
/// ```
#[derive(Debug)]
pub(super) struct SendSide {
    queued: Chunks,
    /// What a resume on another tunnel would send again.
    retained: Chunks,
    sent: u64,
    acked: u64,
    /// Never falls.
    limit: u64,
    fin: Fin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    Queued,
    Sent,
    /// The peer's reader has come to it.
    Acknowledged,
}

impl SendSide {
    pub(super) fn new(window: u32) -> Self {
        Self {
            queued: Chunks::default(),
            retained: Chunks::default(),
            sent: 0,
            acked: 0,
            limit: window.into(),
            fin: Fin::Open,
        }
    }

    /// Moves as much of `bytes` into the queue as keeps it within `queue_max`; gives the count.
    pub(super) fn push(&mut self, bytes: &mut Bytes, queue_max: usize) -> usize {
        debug_assert_eq!(self.fin, Fin::Open);
        let count = bytes.len().min(queue_max.saturating_sub(self.queued.len()));
        if count > 0 {
            self.queued.push(bytes.split_to(count));
        }
        count
    }

    pub(super) fn finish(&mut self) {
        if self.fin == Fin::Open {
            self.fin = Fin::Queued;
        }
    }

    /// Bytes that may go out now.
    pub(super) fn sendable(&self) -> usize {
        usize::try_from(self.limit - self.sent).unwrap_or(usize::MAX).min(self.queued.len())
    }

    pub(super) fn fin_sendable(&self) -> bool {
        self.fin == Fin::Queued && self.queued.is_empty()
    }

    /// Appends the next bytes, at most `max`, in pieces; gives their offset and count.
    pub(super) fn next(&mut self, max: usize, out: &mut Vec<Bytes>) -> (u64, usize) {
        let (offset, count) = (self.sent, max.min(self.sendable()));
        let mut left = count;
        while let Some(piece) = self.queued.pop(left) {
            left -= piece.len();
            self.retained.push(piece.clone());
            out.push(piece);
        }
        self.sent += count as u64;
        (offset, count)
    }

    /// The length of this direction, once, when its fin is to leave.
    pub(super) fn next_fin(&mut self) -> u64 {
        self.fin = Fin::Sent;
        self.sent
    }

    /// Takes a cumulative credit, in which the end counts as one more; gives the number of bytes that left memory.
    pub(super) fn credit(&mut self, consumed: u64, window: u32) -> Result<usize, Violation> {
        let ended = self.is_fin_sent() && consumed == self.sent + 1;
        let bytes = consumed - u64::from(ended);
        if bytes < self.acked || bytes > self.sent {
            return Err(Violation::Credit { consumed, acked: self.acked, sent: self.sent });
        }
        if ended {
            self.fin = Fin::Acknowledged;
        }
        Ok(self.acknowledge(bytes, window))
    }

    fn acknowledge(&mut self, consumed: u64, window: u32) -> usize {
        let freed = (consumed - self.acked) as usize;
        self.retained.drop_front(freed);
        self.acked = consumed;
        self.open_window(consumed, window);
        freed
    }

    /// Goes back to where the other end stands: what it has not received waits to be sent again. Gives the number of
    /// bytes that left memory.
    pub(super) fn rewind(&mut self, point: &ResumePoint) -> Result<usize, Violation> {
        let ResumePoint { received, consumed, window, finished } = *point;
        let ended = received == self.sent && self.is_fin_sent();
        let possible = self.acked <= consumed && consumed <= received && received <= self.sent;
        if !possible || (finished && !ended) || (!finished && self.fin == Fin::Acknowledged) {
            return Err(Violation::Resume { received, acked: self.acked, sent: self.sent });
        }
        let freed = self.acknowledge(consumed, window);
        let mut again = self.retained.split_off((received - consumed) as usize);
        again.append(std::mem::take(&mut self.queued));
        self.queued = again;
        self.sent = received;
        if self.fin == Fin::Sent && !finished {
            self.fin = Fin::Queued;
        }
        Ok(freed)
    }

    /// Raises the limit; what was promised stays promised.
    pub(super) fn open_window(&mut self, consumed: u64, window: u32) {
        self.limit = self.limit.max(consumed.saturating_add(window.into()));
    }

    pub(super) fn is_finished(&self) -> bool {
        self.fin != Fin::Open
    }

    fn is_fin_sent(&self) -> bool {
        matches!(self.fin, Fin::Sent | Fin::Acknowledged)
    }

    /// Whether the peer has consumed all of it and knows that it was all.
    pub(super) fn is_settled(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn held(&self) -> usize {
        self.queued.len() + self.retained.len()
    }
}
