//! How many retries a group may afford, so that a group in trouble is not loaded twice.

use std::time::Instant;

/// A retry costs so much; each first try earns one. Whole numbers, so that the sums are exact.
const COST: f64 = 5.0;
/// Earned per second whatever happens: ten retries.
const FLOOR_PER_SECOND: f64 = 10.0 * COST;
/// Ten seconds of the floor, and where the floor alone stops to fill.
const BALANCE_START: f64 = 10.0 * FLOOR_PER_SECOND;
/// First tries earn up to a thousand retries beyond the start.
const BALANCE_MAX: f64 = BALANCE_START + 1_000.0 * COST;

/// A purse that first tries fill and retries empty: a fifth of the tries, and at least ten a second.
#[derive(Debug)]
pub struct RetryBudget {
    balance: f64,
    filled: Instant,
}

impl RetryBudget {
    pub fn new(now: Instant) -> Self {
        Self { balance: BALANCE_START, filled: now }
    }

    /// A session is tried for the first time.
    pub fn first_try(&mut self) {
        self.balance = (self.balance + 1.0).min(BALANCE_MAX);
    }

    /// Takes one retry, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let floor = now.saturating_duration_since(self.filled).as_secs_f64() * FLOOR_PER_SECOND;
        self.filled = now;
        if self.balance < BALANCE_START {
            self.balance = (self.balance + floor).min(BALANCE_START);
        }
        let affordable = self.balance >= COST;
        if affordable {
            self.balance -= COST;
        }
        affordable
    }
}
