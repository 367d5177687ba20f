//! Leaving alone what fails again and again, and trying it out before it is trusted again.
//!
//! ```text
//!            so many failures in a row               its time is over
//!   closed ───────────────────────────▶ open ───────────────────────────▶ on trial: one session at a time
//!      ▲                                  ▲                                     │            │
//!      │                                  └───────── fails, longer each time ───┘            │
//!      └───────────────────────────────────────────────────────────────── succeeds ──────────┘
//! ```
//! The same rule holds for a member as a whole and for one member's way to one target.

use std::time::{Duration, Instant};

use super::{EJECTION, EJECTION_MAX};

/// After this long without another, the next time is short again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// A session that tries something out and of which nothing is heard holds others off for this long.
pub(super) const TRIAL_WITHIN: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    /// In a row.
    failures: u32,
    /// Times it opened that count towards the length of the next one.
    trips: u32,
    /// When the last of those ends.
    until: Option<Instant>,
    /// It opened, and nothing has gone well since.
    doubted: bool,
    /// When the session began that tries it out.
    trial: Option<Instant>,
}

impl Breaker {
    /// Nothing goes through: it is open, or a trial is under way.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.open_until(now).is_some()
            || self.trial.is_some_and(|since| now.saturating_duration_since(since) < TRIAL_WITHIN)
    }

    /// Until when it is open.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.doubted && *until > now)
    }

    /// A session goes through.
    pub(super) fn chosen(&mut self, now: Instant) {
        if self.doubted && self.open_until(now).is_none() {
            self.trial = Some(now);
        }
    }

    /// Says whether that was a trial which it has passed.
    pub(super) fn succeeded(&mut self, now: Instant) -> bool {
        (self.failures, self.trial) = (0, None);
        // One that began before it opened proves nothing.
        let passed = self.doubted && self.open_until(now).is_none();
        self.doubted &= !passed;
        passed
    }

    /// The `limit`-th failure in a row opens it if it `may`; on trial, the first. Says whether it did.
    pub(super) fn failed(&mut self, limit: u32, may: bool, now: Instant) -> bool {
        self.trial = None;
        self.failures = self.failures.saturating_add(1);
        let limit = if self.doubted { 1 } else { limit };
        if self.failures < limit || !may || self.open_until(now).is_some() {
            return false;
        }
        if self.is_forgiven(now) {
            self.trips = 0;
        }
        (self.failures, self.doubted) = (0, true);
        self.trips = self.trips.saturating_add(1);
        self.until = Some(now + EJECTION.saturating_mul(self.trips).min(EJECTION_MAX));
        true
    }

    /// Whoever failed is not there any more: what counts is only how often it opened.
    pub(super) fn absolved(&self) -> Self {
        Self { trips: self.trips, until: self.until, ..Self::default() }
    }

    /// The next time would be short.
    pub(super) fn is_forgiven(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now.saturating_duration_since(until) > FORGIVEN_AFTER)
    }
}
