//! What the balancer remembers of one member.

use std::time::{Duration, Instant};

use super::{DECAY, EJECTION, EJECTION_MAX, FAILURE_LATENCY, FAILURES_MAX, SLOW_START, SLOW_START_SHARE};

/// After this long without an ejection, the next one is short again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Track {
    latency: Option<Latency>,
    /// In a row.
    failures: u32,
    /// Ejections that count towards the length of the next one.
    ejections: u32,
    ejected_until: Option<Instant>,
    /// Slow start began then; `None` when the member came with its group.
    ramp_since: Option<Instant>,
    since: Instant,
}

impl Track {
    pub(super) fn new(now: Instant, warm: bool) -> Self {
        Self {
            latency: None,
            failures: 0,
            ejections: 0,
            ejected_until: None,
            ramp_since: (!warm).then_some(now),
            since: now,
        }
    }

    pub(super) fn is_warm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SLOW_START
    }

    pub(super) fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.ejected_until.filter(|until| *until > now)
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until(now).is_some()
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
        self.took(took, now);
        self.failures = 0;
    }

    pub(super) fn failed(&mut self, may_eject: bool, now: Instant) {
        self.took(FAILURE_LATENCY, now);
        self.failures += 1;
        if self.failures < FAILURES_MAX || !may_eject || self.is_ejected(now) {
            return;
        }
        if self.ejected_until.is_some_and(|until| now.saturating_duration_since(until) > FORGIVEN_AFTER) {
            self.ejections = 0;
        }
        self.ejections += 1;
        self.failures = 0;
        let until = now + (EJECTION * self.ejections).min(EJECTION_MAX);
        self.ejected_until = Some(until);
        self.ramp_since = Some(until);
        // It has paid for its failures; what it is like afterwards is to be seen.
        self.latency = None;
    }

    fn took(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let estimate = self.latency.as_ref().map_or(took, |latency| latency.with(took, now));
        self.latency = Some(Latency { estimate, at: now });
    }
}

/// An average that a slow open raises at once and that sinks with time, so that a member that is avoided for being slow
/// is tried again.
#[derive(Debug)]
struct Latency {
    /// Seconds.
    estimate: f64,
    at: Instant,
}

impl Latency {
    fn at(&self, now: Instant) -> f64 {
        self.estimate * self.remains(now)
    }

    fn with(&self, took: f64, now: Instant) -> f64 {
        let remains = self.remains(now);
        took.max(self.estimate * remains + took * (1.0 - remains))
    }

    fn remains(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}
