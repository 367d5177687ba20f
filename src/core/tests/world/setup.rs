//! What kind of life it is.

use warren_core::config::Policy;

use super::{
    chance::Chance,
    faults::{Fault, Planned},
    queue::Ms,
};

/// What kind of life.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) agents: usize,
    pub(crate) gateways: usize,
    pub(crate) policies: Vec<Policy>,
    /// Faults and people's edits that are drawn by chance.
    pub(crate) faults: usize,
    pub(crate) edits: usize,
    /// Faults that are given.
    pub(crate) given: Vec<Planned>,
    /// Faults and edits happen between these times.
    pub(crate) trouble: (Ms, Ms),
    /// By then all must be well again,
    pub(crate) healed: Ms,
    /// and from then until the end everybody must be served.
    pub(crate) end: Ms,
    /// Time between two callers, in the mean.
    pub(crate) call_every: Ms,
    /// How long a session lasts at most.
    pub(crate) session: Ms,
}

impl Setup {
    /// A life by chance.
    pub(crate) fn drawn(chance: &mut Chance) -> Self {
        let resources = chance.between(1, 2);
        Self {
            agents: chance.pick(4) + 2,
            gateways: chance.pick(2) + 1,
            policies: (0..resources).map(|_| Policy::ALL[chance.pick(Policy::ALL.len())]).collect(),
            faults: chance.pick(12) + 2,
            edits: chance.pick(6),
            given: Vec::new(),
            trouble: (4_000, 40_000),
            healed: HEALED_AT,
            end: HEALED_AT + 6_000,
            call_every: 350,
            session: 5_000,
        }
    }

    /// Three agents, one gateway, one resource, and no trouble.
    pub(crate) fn quiet() -> Self {
        Self {
            agents: 3,
            gateways: 1,
            policies: vec![Policy::P2c],
            faults: 0,
            edits: 0,
            given: Vec::new(),
            trouble: (4_000, 4_000),
            healed: 1_000_000,
            end: 20_000,
            call_every: 100,
            session: 1_000,
        }
    }

    pub(crate) fn with(mut self, at: Ms, lasts: Ms, fault: Fault) -> Self {
        self.given.push(Planned { at, lasts, fault });
        self
    }
}

/// Trouble ends 40 s after the start; 60 s later all must be well: the longest wait for a dial is 30 s, the slowest return
/// of a verdict takes sixteen looks of 2.4 s.
pub(crate) const HEALED_AT: Ms = 100_000;
