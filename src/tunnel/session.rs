//! One session's bytes: what is on its way out, what came in and waits, and how much more may come.
//!
//! A [`Session`] knows offsets and memory, but neither its id nor its tunnel, so that it can be moved whole from a
//! tunnel that broke to another. All methods are plain bookkeeping; what the peer did wrong comes back as a
//! [`Violation`], which ends the tunnel.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{budget::Budget, frame::ResumePoint};

mod chunks;
mod recv;
mod send;
#[cfg(test)]
mod tests;

use chunks::Chunks;
pub(crate) use recv::CreditDue;
use recv::RecvSide;
use send::SendSide;

/// What a peer may not do with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("bytes at offset {offset}, expected {expected}")]
    Offset { offset: u64, expected: u64 },
    #[error("bytes up to offset {end}, allowed up to {limit}")]
    OverWindow { end: u64, limit: u64 },
    #[error("more after the end at offset {fin}")]
    AfterFin { fin: u64 },
    #[error("credit for {consumed} bytes, with {acked} acknowledged and {sent} sent")]
    Credit { consumed: u64, acked: u64, sent: u64 },
    #[error("resumed at offset {received}, with {acked} acknowledged and {sent} sent")]
    Resume { received: u64, acked: u64, sent: u64 },
}

/// Both directions of one session. Gives its memory back to the budget when it is dropped.
#[derive(Debug)]
pub struct Session {
    send: SendSide,
    recv: RecvSide,
    budget: Budget,
}

impl Session {
    /// A fresh session: `send_window` bytes may be sent, `recv_window` received, before any credit.
    pub fn new(send_window: u32, recv_window: u32, budget: Budget) -> Self {
        Self { send: SendSide::new(send_window), recv: RecvSide::new(recv_window), budget }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Counts against `budget` from here on: the session has moved to another tunnel.
    pub(crate) fn rebind(&mut self, budget: Budget) {
        let (held, grown) = (self.send.held() + self.recv.held(), self.recv.grown());
        budget.take(held);
        budget.move_grown(grown);
        let old = std::mem::replace(&mut self.budget, budget);
        old.give(held);
        old.shrink(grown);
    }

    /// Where this end stands, for the other end to go on from.
    pub(crate) fn resume_point(&mut self) -> ResumePoint {
        self.recv.point()
    }

    /// Goes on from where the other end stands.
    pub(crate) fn resume(&mut self, point: &ResumePoint) -> Result<(), Violation> {
        let freed = self.send.rewind(point)?;
        self.budget.give(freed);
        Ok(())
    }

    /// Queues the head of `bytes`, as much as keeps the unsent ones within `queue_max`; gives the count.
    pub(crate) fn push(&mut self, bytes: &mut Bytes, queue_max: usize) -> usize {
        let count = self.send.push(bytes, queue_max);
        self.budget.take(count);
        count
    }

    /// Ends the sending direction behind what is queued.
    pub(crate) fn finish(&mut self) {
        self.send.finish();
    }

    /// Bytes that queue and credit let out now.
    pub(crate) fn sendable(&self) -> usize {
        self.send.sendable()
    }

    pub(crate) fn fin_sendable(&self) -> bool {
        self.send.fin_sendable()
    }

    /// Appends at most `max` bytes in pieces; gives their offset and count.
    pub(crate) fn next_data(&mut self, max: usize, out: &mut Vec<Bytes>) -> (u64, usize) {
        self.send.next(max, out)
    }

    pub(crate) fn next_fin(&mut self) -> u64 {
        self.send.next_fin()
    }

    pub(crate) fn handle_credit(&mut self, consumed: u64, window: u32) -> Result<(), Violation> {
        let freed = self.send.credit(consumed, window)?;
        self.budget.give(freed);
        Ok(())
    }

    /// The window that came with the answer to an open.
    pub(crate) fn handle_window(&mut self, window: u32) {
        self.send.open_window(0, window);
    }

    pub(crate) fn handle_data(&mut self, offset: u64, bytes: Bytes) -> Result<(), Violation> {
        let count = bytes.len();
        self.recv.data(offset, bytes)?;
        self.budget.take(count);
        Ok(())
    }

    pub(crate) fn handle_fin(&mut self, offset: u64) -> Result<(), Violation> {
        self.recv.fin(offset)
    }

    /// The next received bytes, at most `max`.
    pub(crate) fn take(&mut self, max: usize, now: Instant) -> Option<Bytes> {
        let bytes = self.recv.take(max, now)?;
        self.budget.give(bytes.len());
        Some(bytes)
    }

    /// The reader is gone: what waits counts as read.
    pub(crate) fn discard_received(&mut self) {
        let count = self.recv.discard();
        self.budget.give(count);
    }

    pub(crate) fn credit_due(&self) -> CreditDue {
        self.recv.credit_due()
    }

    /// The credit to send, as consumed and window.
    pub(crate) fn credit(&mut self, now: Instant, rtt: Option<Duration>, window_max: u32) -> (u64, u32) {
        self.recv.credit(now, rtt, window_max, &self.budget)
    }

    /// Unsent bytes.
    pub(crate) fn queued(&self) -> usize {
        self.send.queued()
    }

    /// Bytes queued or sent that the peer has not consumed.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.send.held() as u64
    }

    pub(crate) fn is_send_finished(&self) -> bool {
        self.send.is_finished()
    }

    /// The peer's direction has come whole.
    pub(crate) fn is_recv_complete(&self) -> bool {
        self.recv.is_complete()
    }

    /// The peer's direction has come whole and been read.
    pub(crate) fn is_recv_finished(&self) -> bool {
        self.recv.is_finished()
    }

    /// Nothing is left to say in either direction.
    pub(crate) fn is_over(&self) -> bool {
        self.send.is_settled() && self.recv.is_finished() && self.recv.credit_due() == CreditDue::No
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.send.sent()
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.recv.received()
    }

    /// Received bytes that the reader has taken.
    pub fn consumed(&self) -> u64 {
        self.recv.consumed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.budget.give(self.send.held() + self.recv.held());
        self.budget.shrink(self.recv.grown());
    }
}
