//! A gateway's port: a queue in front of a few cores.

use std::collections::VecDeque;

use super::Us;

/// CPU time of one tunnel that comes up at the gateway, from the connection to its first snapshot: `prove storm`,
/// its gateway's CPU over its tunnels.
pub(super) const COST: Us = 1_100;
/// Handshakes at once (`limits.handshakes`); the oldest gives way.
const HANDSHAKES_MAX: usize = 4_096;

/// A tunnel that an agent asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dial {
    pub(super) agent: usize,
    pub(super) slot: usize,
    pub(super) epoch: u64,
    pub(super) at: Us,
}

#[derive(Debug)]
pub(super) enum Taken {
    /// Nobody listens.
    Refused,
    Begun {
        done: Us,
    },
    Waits {
        instead_of: Option<Dial>,
    },
}

pub(super) struct Port {
    listens_from: Us,
    free_cores: usize,
    waiting: VecDeque<Dial>,
    pub(super) wasted: u64,
    pub(super) evicted: u64,
}

impl Port {
    pub(super) fn new(cores: usize, listens_from: Us) -> Self {
        Self { listens_from, free_cores: cores, waiting: VecDeque::new(), wasted: 0, evicted: 0 }
    }

    pub(super) fn take(&mut self, dial: Dial) -> Taken {
        if dial.at < self.listens_from {
            return Taken::Refused;
        }
        if self.free_cores > 0 {
            self.free_cores -= 1;
            return Taken::Begun { done: dial.at + COST };
        }
        self.waiting.push_back(dial);
        let instead_of = if self.waiting.len() > HANDSHAKES_MAX { self.waiting.pop_front() } else { None };
        self.evicted += u64::from(instead_of.is_some());
        Taken::Waits { instead_of }
    }

    /// One is done; gives the next one and when that is done. Who has given up is served all the same: that shows only
    /// when the answer is sent.
    pub(super) fn served(&mut self, now: Us, until: Us) -> Option<(Us, Dial)> {
        self.wasted += u64::from(now >= until);
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.free_cores += 1;
        }
        next.map(|dial| (now + COST, dial))
    }
}
