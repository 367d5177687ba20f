//! What the balancer remembers of one member.

use std::time::{Duration, Instant};

use super::{DECAY, FAILURE_LATENCY, FAILURES_MAX, SLOW_START, SLOW_START_SHARE, breaker::Breaker};

/// Part that one open has in the average, however soon it comes.
const PER_OPEN: f64 = 0.2;

/// Of a member with a tunnel.
#[derive(Debug)]
pub(super) struct Track {
    latency: Option<Latency>,
    breaker: Breaker,
    /// It comes and goes, and gets nothing until then.
    held_until: Option<Instant>,
    /// Slow start began then; `None` when the member came with its group.
    ramp_since: Option<Instant>,
    since: Instant,
}

impl Track {
    pub(super) fn new(now: Instant, warm: bool, breaker: Breaker, held_until: Option<Instant>) -> Self {
        let ramp_since = if warm { held_until } else { Some(held_until.unwrap_or(now)) };
        Self { latency: None, breaker, held_until, ramp_since, since: now }
    }

    pub(super) fn is_warm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SLOW_START
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn chosen(&mut self, now: Instant) {
        self.breaker.chosen(now);
    }

    pub(super) fn is_held_back(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until > now)
    }

    /// It gets nothing, by the balancer's own judgement.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.breaker.holds(now) || self.is_held_back(now)
    }

    /// Part of its weight that counts, [`SLOW_START_SHARE`] to 1.
    pub(super) fn share(&self, now: Instant) -> f64 {
        let Some(since) = self.ramp_since else { return 1.0 };
        let progress = now.saturating_duration_since(since).as_secs_f64() / SLOW_START.as_secs_f64();
        SLOW_START_SHARE + (1.0 - SLOW_START_SHARE) * progress.min(1.0)
    }

    /// Seconds that an open is taken to need; `None` before one was seen.
    pub(super) fn latency(&self, now: Instant) -> Option<f64> {
        self.latency.as_ref().map(|latency| latency.at(now))
    }

    pub(super) fn succeeded(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let latency = self.latency.take();
        self.latency = Some(latency.map_or(Latency::new(took, now), |latency| latency.with(took, now)));
        if self.breaker.succeeded(now) {
            self.ramp_since = Some(now);
        }
    }

    pub(super) fn failed(&mut self, may_eject: bool, now: Instant) {
        // Not an accident, whatever went before: see `Latency`.
        self.latency = Some(Latency::new(FAILURE_LATENCY.as_secs_f64(), now));
        if self.breaker.failed(FAILURES_MAX, may_eject, now) {
            // It pays for its failures; what it is like afterwards is to be seen.
            self.latency = None;
        }
    }
}

/// An average that slow opens raise at once and that sinks with time, so that a member that is avoided for being slow is
/// tried again, and with each quicker open.
///
/// One slow open among many quick ones is an accident (a lost packet, a thread without a turn), two in a row are how it goes:
/// the average jumps to the quicker of the last two. Otherwise each accident would send all sessions elsewhere for seconds,
/// and those that last would stay there.
#[derive(Debug)]
struct Latency {
    /// Seconds.
    estimate: f64,
    /// What the last open took, seconds.
    last: f64,
    at: Instant,
}

impl Latency {
    fn new(took: f64, at: Instant) -> Self {
        Self { estimate: took, last: took, at }
    }

    fn at(&self, now: Instant) -> f64 {
        self.estimate * self.remains(now)
    }

    fn with(&self, took: f64, now: Instant) -> Self {
        // However soon it comes, an open counts for something.
        let remains = self.remains(now).min(1.0 - PER_OPEN);
        let average = self.estimate * remains + took * (1.0 - remains);
        Self { estimate: took.min(self.last).max(average), last: took, at: now }
    }

    fn remains(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}
