//! Which gateway a slot dials, and when one of two on the same gateway looks for one that has none.

use std::time::{Duration, Instant};

use super::{Gateway, Phase, SEEK_MIN, Slot, Uplink};
use crate::backoff::Backoff;

impl Uplink {
    /// The gateway with the fewest of our tunnels, then with the fewest failures; ties go round by slot, so that slots
    /// spread over gateways of which nothing is known yet. One that drained is passed over only for one that does not fail:
    /// it may be back, and the other gone.
    pub(super) fn choose(&self, number: usize, now: Instant) -> usize {
        let count = self.gateways.len();
        let drained = |gateway: &Gateway| gateway.avoid_until.is_some_and(|until| now < until);
        let another = self.gateways.iter().any(|gateway| !drained(gateway) && gateway.failures == 0);
        let burden = |&gateway: &usize| {
            let known = &self.gateways[gateway];
            let avoided = another && drained(known);
            let held = self.slots.iter().filter(|slot| slot.holds(gateway)).count();
            let turn = (gateway + count - number % count) % count;
            (avoided, held, known.failures, turn)
        };
        (0..count).min_by_key(burden).unwrap_or(0)
    }

    /// A slot that could do without its gateway, because another has a tunnel to it too and some gateway has none.
    pub(super) fn doubled(&self) -> Option<usize> {
        let settled = |slot: &Slot| matches!(slot.phase(), Phase::Verified { .. });
        if !self.slots.iter().all(settled) || (0..self.gateways.len()).all(|gateway| self.is_held(gateway)) {
            return None;
        }
        let shares = |number: &usize| {
            let gateway = self.slots[*number].gateway();
            self.slots.iter().filter(|slot| slot.holds(gateway)).count() > 1
        };
        (0..self.slots.len()).rev().find(shares)
    }

    pub(super) fn is_held(&self, gateway: usize) -> bool {
        self.slots.iter().any(|slot| slot.holds(gateway))
    }

    pub(super) fn plan_seek(&mut self, now: Instant) {
        if self.doubled().is_none() {
            // Only looks that came to nothing make the next wait longer.
            if !self.slots.iter().any(Slot::has_spare) {
                self.seek_backoff = seeking();
            }
            self.seek = None;
        } else if self.seek.is_none() {
            let missing = self.gateways.iter().enumerate().filter(|(gateway, _)| !self.is_held(*gateway));
            let free = missing.map(|(_, gateway)| gateway.avoid_until.unwrap_or(now)).min().unwrap_or(now);
            // All its agents heard that it drains at once; they do not come back at once.
            self.seek = Some(free.max(now) + SEEK_MIN + self.seek_backoff.next_wait(self.random));
        }
    }
}

/// Waiting between looks for a gateway that has no tunnel while others carry all.
pub(super) const fn seeking() -> Backoff {
    Backoff::new(Duration::from_secs(5), Duration::from_secs(300), Duration::ZERO)
}
