//! Keeping an agent's tunnels up: which gateway each slot dials, and when.
//!
//! ```text
//!             wait over                connected              verified
//!   Waiting ────────────▶ Dialling ──────────────▶ Unproven ────────────▶ Verified
//!      ▲                     │                         │                      │
//!      └──── failed ─────────┴──── ended, unproven ────┴── ended, draining ───┘
//!                                  for too long
//! ```
//! The machine has no socket and no clock. Tell it what happened ([`Uplink::connected`], [`Uplink::verified`],
//! [`Uplink::draining`], [`Uplink::ended`]), call [`Uplink::handle_timeout`] when [`Uplink::poll_timeout`] is due, and
//! carry out every [`Command`] that [`Uplink::poll_command`] gives. Connections are named by their epoch, which only
//! grows: news of a connection that its slot has left behind changes nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::backoff::Backoff;

mod slot;

use slot::{Phase, Slot};

/// A connected tunnel that the gateway has not used by then is made again.
pub const VERIFY_WITHIN: Duration = Duration::from_secs(20);
/// A gateway that drains is passed over for this long if there is another.
pub const AVOID_DRAINING: Duration = Duration::from_secs(30);
/// The shortest wait after trouble that somebody has to mend.
pub const PATIENT_MIN: Duration = Duration::from_secs(5);
/// Between the first dials of two slots, so that a start is no burst.
pub const STAGGER: Duration = Duration::from_millis(250);

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Dial gateway number `gateway` for `slot`; say `epoch` in the hello and in every event about it.
    Dial { slot: usize, gateway: usize, epoch: u64 },
    /// Close this connection: the gateway accepted it and never used it.
    Recycle { slot: usize, epoch: u64 },
}

/// Why a connection ended, or did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No connection was made: no way, no answer, broken TLS.
    Unreachable,
    /// An established tunnel broke or fell silent.
    Lost,
    /// The gateway closed it in good order.
    Closed,
    /// The gateway is one that this agent has a tunnel to already.
    Duplicate,
    /// The gateway does not take this agent's certificate.
    Unauthorized,
    /// The agent's identity was revoked.
    Revoked,
    /// A newer process with this agent's identity took the place.
    Fenced,
    /// The ends do not understand each other.
    Protocol,
    /// A proxy on the way to the gateway does not let this agent through.
    ProxyRefused,
}

impl Ending {
    /// Label for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Closed => "closed",
            Self::Duplicate => "duplicate",
            Self::Unauthorized => "unauthorized",
            Self::Revoked => "revoked",
            Self::Fenced => "fenced",
            Self::Protocol => "protocol",
            Self::ProxyRefused => "proxy_refused",
        }
    }

    /// Trying again soon would only be noise: somebody has to change something first.
    pub const fn needs_people(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::Revoked | Self::Fenced | Self::Protocol | Self::ProxyRefused
        )
    }
}

/// The decisions about all tunnels of one agent.
#[derive(Debug)]
pub struct Uplink {
    slots: Vec<Slot>,
    gateways: Vec<Gateway>,
    epoch: u64,
    commands: VecDeque<Command>,
    revoked: bool,
    /// No further dials.
    stopped: bool,
}

#[derive(Debug, Default)]
struct Gateway {
    failures: u32,
    avoid_until: Option<Instant>,
}

impl Uplink {
    /// `slots` tunnels (at least one) to `gateways` gateways (at least one), the first dialled at once.
    pub fn new(slots: usize, gateways: usize, now: Instant) -> Self {
        let start = |slot: usize| now + STAGGER * u32::try_from(slot).unwrap_or(u32::MAX);
        Self {
            slots: (0..slots.max(1)).map(|slot| Slot::waiting_until(start(slot))).collect(),
            gateways: (0..gateways.max(1)).map(|_| Gateway::default()).collect(),
            epoch: 0,
            commands: VecDeque::new(),
            revoked: false,
            stopped: false,
        }
    }

    /// The connection is up: TLS, upgrade and hello are done.
    pub fn connected(&mut self, slot: usize, epoch: u64, now: Instant) {
        if let Some(slot) = self.current(slot, epoch) {
            slot.connected(now);
        }
    }

    /// The gateway has used the connection: it carries data.
    pub fn verified(&mut self, slot: usize, epoch: u64, now: Instant) {
        self.revoked = false;
        let Some(slot) = self.current(slot, epoch) else { return };
        slot.verified(now);
        let gateway = slot.gateway();
        self.gateways[gateway] = Gateway::default();
    }

    /// The gateway is about to stop. The connection lives on for what it carries; the slot looks for another one.
    pub fn draining(&mut self, slot: usize, epoch: u64, now: Instant, random: u64) {
        let Some(slot) = self.current(slot, epoch) else { return };
        let gateway = slot.gateway();
        slot.ended(Ending::Closed, now, random);
        self.gateways[gateway].avoid_until = Some(now + AVOID_DRAINING);
    }

    /// The connection ended or did not come up. `random` is any evenly spread 64 bits.
    pub fn ended(&mut self, slot: usize, epoch: u64, ending: Ending, now: Instant, random: u64) {
        let Some(slot) = self.current(slot, epoch) else { return };
        let gateway = slot.gateway();
        slot.ended(ending, now, random);
        self.revoked |= ending == Ending::Revoked;
        self.gateways[gateway].failures = self.gateways[gateway].failures.saturating_add(1);
    }

    /// There is a new certificate: slots that wait because the old one was refused try again at once.
    pub fn credential_changed(&mut self, now: Instant) {
        self.slots.iter_mut().for_each(|slot| slot.retry_refused(now));
    }

    /// No further dials; connections that are up are not touched.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.commands.retain(|command| matches!(command, Command::Recycle { .. }));
    }

    /// When [`Self::handle_timeout`] is due; `None` when nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.slots.iter().filter(|slot| !(self.stopped && slot.is_waiting()));
        waits.filter_map(Slot::deadline).min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        for number in 0..self.slots.len() {
            if self.slots[number].deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            match self.slots[number].phase() {
                Phase::Waiting { .. } if !self.stopped => self.dial(number, now),
                Phase::Unproven { .. } => {
                    let epoch = self.slots[number].epoch();
                    self.slots[number].recycling();
                    self.commands.push_back(Command::Recycle { slot: number, epoch });
                }
                Phase::Waiting { .. } | Phase::Dialling | Phase::Verified { .. } => {}
            }
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Tunnels that are verified.
    pub fn verified_count(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot.phase(), Phase::Verified { .. })).count()
    }

    /// The last word of a gateway was that this agent is revoked.
    pub fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// When `slot` dials next, if it waits.
    pub fn next_dial(&self, slot: usize) -> Option<Instant> {
        self.slots.get(slot).filter(|slot| slot.is_waiting()).and_then(Slot::deadline)
    }

    fn dial(&mut self, number: usize, now: Instant) {
        let gateway = self.choose(number, now);
        self.epoch += 1;
        self.slots[number].dial(gateway, self.epoch);
        self.commands.push_back(Command::Dial { slot: number, gateway, epoch: self.epoch });
    }

    /// The gateway with the fewest of our tunnels, then with the fewest failures; ties go round by slot, so that slots
    /// spread over gateways of which nothing is known yet.
    fn choose(&self, number: usize, now: Instant) -> usize {
        let count = self.gateways.len();
        let burden = |&gateway: &usize| {
            let known = &self.gateways[gateway];
            let avoided = known.avoid_until.is_some_and(|until| now < until);
            let held = self.slots.iter().filter(|slot| slot.holds(gateway)).count();
            let turn = (gateway + count - number % count) % count;
            (avoided, held, known.failures, turn)
        };
        (0..count).min_by_key(burden).unwrap_or(0)
    }

    fn current(&mut self, slot: usize, epoch: u64) -> Option<&mut Slot> {
        self.slots.get_mut(slot).filter(|slot| slot.epoch() == epoch && !slot.is_waiting())
    }
}

/// Waiting after trouble that passes by itself.
const fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(30), Duration::from_secs(15))
}

/// Waiting after trouble that somebody has to mend.
const fn patient() -> Backoff {
    Backoff::new(Duration::from_secs(10), Duration::from_secs(300), Duration::from_secs(15))
}

#[cfg(test)]
mod tests;
