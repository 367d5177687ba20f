//! The receiving direction of a session.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Chunks, Violation};
use crate::{budget::Budget, frame::ResumePoint};

/// A round trip from which on the other end is far away.
const FAR: Duration = Duration::from_millis(5);

/// The least window that a spent budget leaves to a session.
const WINDOW_FLOOR: u32 = 64 * 1024;

/// A peer hears of what was consumed after a quarter of the window, and after this much at the latest: until it hears, the
/// quarter is room that nobody uses, which a large window over a long way is too dear for.
const CREDIT_STEP_MAX: u32 = 1 << 20;

/// Bytes that came in and wait for their reader.
///
/// ```text
///     credited  consumed       received          limit
/// ───────┼──────────┼──────────────┼───────────────┼───────▶ offset
///        │ not told │←── queue ───▶│ promised room │
/// ```
#[derive(Debug)]
pub(super) struct RecvSide {
    queue: Chunks,
    received: u64,
    consumed: u64,
    /// What the peer last heard of `consumed`, and of the end, which counts as one more.
    credited: u64,
    /// What the peer was promised; never falls.
    limit: u64,
    window: u32,
    window_initial: u32,
    /// Where the measurement of the consuming speed began; the next bytes taken begin one that has not.
    epoch: Option<(Instant, u64)>,
    fin: Option<u64>,
}

/// When the peer should hear of what was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreditDue {
    No,
    /// Only so that it may forget what it retains.
    Later,
    Now,
}

impl RecvSide {
    pub(super) fn new(window: u32) -> Self {
        Self {
            queue: Chunks::default(),
            received: 0,
            consumed: 0,
            credited: 0,
            limit: window.into(),
            window,
            window_initial: window,
            epoch: None,
            fin: None,
        }
    }

    pub(super) fn data(&mut self, offset: u64, bytes: Bytes) -> Result<(), Violation> {
        if let Some(fin) = self.fin {
            return Err(Violation::AfterFin { fin });
        }
        if offset != self.received {
            return Err(Violation::Offset { offset, expected: self.received });
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(Violation::OverWindow { end, limit: self.limit });
        }
        self.received = end;
        self.queue.push(bytes);
        Ok(())
    }

    pub(super) fn fin(&mut self, offset: u64) -> Result<(), Violation> {
        if let Some(fin) = self.fin {
            return Err(Violation::AfterFin { fin });
        }
        if offset != self.received {
            return Err(Violation::Offset { offset, expected: self.received });
        }
        self.fin = Some(offset);
        Ok(())
    }

    pub(super) fn take(&mut self, max: usize, now: Instant) -> Option<Bytes> {
        let bytes = self.queue.pop(max)?;
        self.epoch.get_or_insert((now, self.consumed));
        self.consumed += bytes.len() as u64;
        Some(bytes)
    }

    /// Counts all that waits as consumed, for a reader that is gone; gives the number of bytes that left memory.
    pub(super) fn discard(&mut self) -> usize {
        let count = self.queue.len();
        self.queue = Chunks::default();
        self.consumed += count as u64;
        count
    }

    pub(super) fn credit_due(&self) -> CreditDue {
        let untold = self.position() - self.credited;
        if untold == 0 {
            CreditDue::No
        } else if untold >= u64::from((self.window / 4).min(CREDIT_STEP_MAX)) || self.is_finished() {
            CreditDue::Now
        } else {
            CreditDue::Later
        }
    }

    /// Bytes consumed, and one for the end when the reader has come to it: only so does the peer learn that its fin came.
    fn position(&self) -> u64 {
        self.consumed + u64::from(self.is_finished())
    }

    /// The credit to send: consumed, with the end, and window. Tunes the window first.
    pub(super) fn credit(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        window_max: u32,
        budget: &Budget,
    ) -> (u64, u32) {
        self.tune(now, rtt, window_max, budget);
        self.limit = self.limit.max(self.consumed + u64::from(self.window));
        self.credited = self.position();
        (self.credited, (self.limit - self.consumed) as u32)
    }

    /// Where the peer goes on from; counts as a credit for all but the end. What was measured on the old tunnel is forgotten.
    pub(super) fn point(&mut self) -> ResumePoint {
        self.epoch = None;
        self.limit = self.limit.max(self.consumed + u64::from(self.window));
        self.credited = self.consumed;
        ResumePoint {
            received: self.received,
            consumed: self.consumed,
            window: (self.limit - self.consumed) as u32,
            finished: self.fin.is_some(),
        }
    }

    /// Whether all has come, though perhaps not been read.
    pub(super) fn is_complete(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether all has come and been read.
    pub(super) fn is_finished(&self) -> bool {
        self.fin == Some(self.consumed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(super) fn held(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn grown(&self) -> usize {
        self.window.saturating_sub(self.window_initial) as usize
    }

    /// A window that was used up in less than two round trips is what holds the session back: it grows, if the budget has
    /// room. A spent budget takes back what was given.
    fn tune(&mut self, now: Instant, rtt: Option<Duration>, window_max: u32, budget: &Budget) {
        if budget.is_spent() {
            let before = self.grown();
            self.window = (self.window / 2).max(WINDOW_FLOOR.min(self.window_initial));
            budget.shrink(before - self.grown());
            self.epoch = None;
            return;
        }
        let Some((since, from)) = self.epoch else { return };
        if self.consumed - from < u64::from(self.window) {
            return;
        }
        // The next measurement begins with the next bytes: what lies between is the wait for this credit.
        self.epoch = None;
        let elapsed = now.saturating_duration_since(since);
        let Some(rtt) = rtt.filter(|rtt| elapsed < *rtt * 2) else { return };
        for factor in [16, 8, 4, 2].into_iter().skip_while(|factor| *factor > growth_max(elapsed, rtt)) {
            let next = self.window.saturating_mul(factor).min(window_max);
            // Below the initial window, growth is a way back and needs no reservation.
            let extra = next.saturating_sub(self.window_initial) as usize;
            if next > self.window && budget.grow(extra.saturating_sub(self.grown())) {
                self.window = next;
                return;
            }
        }
    }
}

/// How many times larger a window may become that was used up in `elapsed`. Near by it doubles. From afar each step costs round
/// trips, and a window that came in a small part of one says that the way in between carries so many more: the
/// dispersion of a train of packets, as in Dovrolis, Ramanathan and Moore, "What do packet dispersion techniques measure?"
/// (INFOCOM 2001).
fn growth_max(elapsed: Duration, rtt: Duration) -> u32 {
    if rtt < FAR {
        return 2;
    }
    let trains = rtt.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
    if trains >= 4.0 { 16 } else { 4 }
}
