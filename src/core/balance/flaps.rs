//! Holding back a member that comes and goes.
//!
//! Each departure costs a point, and points fade by half in [`HALF_LIFE`]. A member that comes back with
//! [`HELD_AT`] points or more gets nothing until they have faded to [`FREED_AT`]: a tunnel that breaks every few seconds
//! would cost a session each time, a restart or two cost nothing.

use std::time::{Duration, Instant};

const HALF_LIFE: Duration = Duration::from_secs(30);
/// Three departures within about 15 s, or one every 20 s for long.
const HELD_AT: f64 = 2.5;
const FREED_AT: f64 = 1.25;
/// Bounds the time that a member is held back to a minute.
const POINTS_MAX: f64 = 5.0;
/// So little is nothing.
const NOTHING: f64 = 0.05;

#[derive(Debug, Clone, Copy)]
pub(super) struct Flaps {
    points: f64,
    at: Instant,
}

impl Flaps {
    pub(super) fn new(now: Instant) -> Self {
        Self { points: 0.0, at: now }
    }

    /// It went.
    pub(super) fn note(&mut self, now: Instant) {
        *self = Self { points: (self.points(now) + 1.0).min(POINTS_MAX), at: now };
    }

    /// Until when a member that comes at `now` is held back.
    pub(super) fn hold(&self, now: Instant) -> Option<Instant> {
        let points = self.points(now);
        (points >= HELD_AT).then(|| now + HALF_LIFE.mul_f64((points / FREED_AT).log2()))
    }

    pub(super) fn are_forgotten(&self, now: Instant) -> bool {
        self.points(now) < NOTHING
    }

    fn points(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.points * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a member is held back that has gone `times` times, `every` seconds apart.
    fn held(times: u32, every: u64) -> Option<u64> {
        let mut now = Instant::now();
        let mut flaps = Flaps::new(now);
        for _ in 0..times {
            now += Duration::from_secs(every);
            flaps.note(now);
        }
        flaps.hold(now).map(|until| (until - now).as_secs())
    }

    #[test]
    fn only_who_comes_and_goes_is_held_back_and_never_for_more_than_a_minute() {
        let table = [
            (1, 1, None),
            (2, 1, None),
            (3, 5, Some(33)),
            (3, 30, None),
            (1_000, 30, None),
            (1_000, 20, Some(33)),
            (1_000, 1, Some(60)),
        ];
        for (times, every, expected) in table {
            assert_eq!(held(times, every), expected, "{times} times, every {every} s");
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let now = Instant::now();
        let mut flaps = Flaps::new(now);
        flaps.note(now);
        assert!(!flaps.are_forgotten(now + Duration::from_secs(60)));
        assert!(flaps.are_forgotten(now + Duration::from_secs(150)));
    }
}
