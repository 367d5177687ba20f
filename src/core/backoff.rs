//! Waiting between attempts: exponential with full jitter.
//!
//! Each wait is drawn evenly from zero to a ceiling that doubles, so that many agents which lost the same gateway
//! spread out instead of returning together (the "full jitter" of Amazon's builders' library).

use std::time::Duration;

/// Shape of a backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub base: Duration,
    /// Ceiling that no wait passes.
    pub cap: Duration,
    /// A connection that lasted this long resets the count.
    pub stable_after: Duration,
    attempt: u32,
}

impl Backoff {
    pub const fn new(base: Duration, cap: Duration, stable_after: Duration) -> Self {
        Self { base, cap, stable_after, attempt: 0 }
    }

    /// The next wait, drawn with `random` (any evenly spread 64 bits).
    pub fn next_wait(&mut self, random: u64) -> Duration {
        self.next_wait_within(Duration::MAX, random)
    }

    /// The same, drawn below `most` where the ceiling is higher.
    pub fn next_wait_within(&mut self, most: Duration, random: u64) -> Duration {
        let ceiling = self.ceiling().min(most);
        self.attempt = self.attempt.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
    }

    /// Tells how long the attempt that just ended had been up. One that worked for less than a stable while bounds the next
    /// ceiling all the same, to four times the base: what worked a moment ago is worth another try, and sessions wait for it.
    pub fn connected_for(&mut self, uptime: Duration) {
        self.attempt = if uptime >= self.stable_after { 0 } else { self.attempt.min(2) };
    }

    fn ceiling(&self) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX)).min(self.cap)
    }
}

impl Default for Backoff {
    /// 0.5 s doubling to 30 s, reset after 15 s up.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30), Duration::from_secs(15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_doubling_ceiling() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next_wait(u64::MAX).as_millis()).collect();
        assert_eq!(waits, [499, 999, 1999, 3999, 7999, 15999, 29999, 29999, 29999, 29999]);
        assert_eq!(backoff.next_wait(0), Duration::ZERO);
    }

    #[test]
    fn only_a_stable_connection_resets_it() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_wait(0);
        }
        assert_eq!(backoff.next_wait(u64::MAX).as_secs(), 15, "dials that fail wait longer and longer");
        backoff.connected_for(Duration::from_secs(14));
        assert_eq!(
            backoff.next_wait(u64::MAX).as_millis(),
            1999,
            "a tunnel that worked for a while does not"
        );
        backoff.connected_for(Duration::from_secs(15));
        assert_eq!(backoff.next_wait(u64::MAX).as_millis(), 499);
    }
}
