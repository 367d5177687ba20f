//! One direction of a connection: what is written arrives whole and in order, or from some byte on not at all.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Pipe {
    latency: Duration,
    /// How long after the writer's hello the reader joins.
    joins_after: Duration,
    under_way: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    arrived: u64,
    /// Nothing arrives for the time being.
    stalled: bool,
    /// It stalls at that byte.
    stalls_at: u64,
    flows_since: Option<Instant>,
    /// What lies beyond this byte never arrives.
    arrives_max: u64,
    /// The writer has closed.
    end: Option<Instant>,
    end_seen: bool,
}

impl Pipe {
    pub(super) fn new(latency: Duration, joins_after: Duration) -> Self {
        Self {
            latency,
            joins_after,
            under_way: VecDeque::new(),
            bytes: 0,
            arrived: 0,
            stalled: false,
            stalls_at: u64::MAX,
            flows_since: None,
            arrives_max: u64::MAX,
            end: None,
            end_seen: false,
        }
    }

    pub(super) fn joins_after(&self) -> Duration {
        self.joins_after
    }

    pub(super) fn push(&mut self, piece: Bytes, now: Instant) {
        let earliest = self.under_way.back().map_or(now, |(at, _)| *at);
        self.bytes += piece.len();
        self.under_way.push_back((earliest.max(now + self.latency), piece));
    }

    /// Lets only the first `count` bytes of all through.
    pub(super) fn limit(&mut self, count: u64) {
        self.arrives_max = self.arrives_max.min(count);
    }

    /// Whatever has not arrived never does.
    pub(super) fn cut(&mut self) {
        self.arrives_max = self.arrived;
    }

    pub(super) fn stall(&mut self) {
        self.stalled = true;
    }

    /// Lets `count` more bytes through and then stalls.
    pub(super) fn stall_after(&mut self, count: u64) {
        self.stalls_at = self.arrived + count;
        self.stalled = count == 0;
    }

    pub(super) fn flow(&mut self, now: Instant) {
        self.stalls_at = u64::MAX;
        if std::mem::take(&mut self.stalled) {
            self.flows_since = Some(now);
        }
    }

    pub(super) fn is_impaired(&self) -> bool {
        self.stalled || self.arrives_max < u64::MAX
    }

    pub(super) fn flows_since(&self) -> Option<Instant> {
        self.flows_since
    }

    /// The writer says no more.
    pub(super) fn end(&mut self, now: Instant) {
        self.end.get_or_insert(now + self.latency);
    }

    pub(super) fn under_way(&self) -> usize {
        self.bytes
    }

    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        if self.stalled || self.arrived >= self.arrives_max || self.end_seen {
            return None;
        }
        self.under_way.front().map(|(at, _)| *at).or(self.end)
    }

    /// What arrives now: bytes, or the end; none: nothing does.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<Option<Bytes>> {
        self.next_arrival().filter(|at| *at <= now)?;
        let Some((_, mut piece)) = self.under_way.pop_front() else {
            self.end_seen = true;
            return Some(None);
        };
        self.bytes -= piece.len();
        let room = usize::try_from(self.stalls_at - self.arrived).unwrap_or(usize::MAX);
        if piece.len() > room {
            let rest = piece.split_off(room);
            self.bytes += rest.len();
            self.under_way.push_front((now, rest));
        }
        piece.truncate(usize::try_from(self.arrives_max - self.arrived).unwrap_or(usize::MAX));
        self.arrived += piece.len() as u64;
        self.stalled |= self.arrived == self.stalls_at;
        Some(Some(piece))
    }
}
