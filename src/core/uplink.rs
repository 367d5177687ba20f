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
//!
//! Tunnels to several gateways stay spread: while a gateway has none and another has two, one of the two looks for it
//! now and then. The old connection is kept until the new one is verified, and then released.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::backoff::Backoff;

mod slot;
mod spread;

use slot::{Phase, Slot};
use spread::seeking;

/// A connected tunnel that the gateway has not used by then is made again.
pub const VERIFY_WITHIN: Duration = Duration::from_secs(20);
/// A gateway that drains is passed over for this long if there is another.
pub const AVOID_DRAINING: Duration = Duration::from_secs(30);
/// The shortest wait after trouble that somebody has to mend.
pub const PATIENT_MIN: Duration = Duration::from_secs(5);
/// The shortest wait before a gateway without a tunnel is looked for.
pub const SEEK_MIN: Duration = Duration::from_secs(2);
/// Connections that gateways drain and that are remembered.
const LEAVING_MAX: usize = 32;
/// Between the first dials of two slots, so that a start is no burst.
pub const STAGGER: Duration = Duration::from_millis(250);

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Dial gateway number `gateway` for `slot`; say `epoch` in the hello and in every event about it.
    Dial { slot: usize, gateway: usize, epoch: u64 },
    /// Close this connection: the gateway accepted it and never used it.
    Recycle { slot: usize, epoch: u64 },
    /// Close this connection, the slot has another one: its sessions go on over the slot that shares its gateway.
    Release { slot: usize, epoch: u64 },
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
    /// Connections that gateways drain, by epoch, at most [`LEAVING_MAX`].
    leaving: VecDeque<(u64, usize)>,
    /// When a slot looks for a gateway without a tunnel.
    seek: Option<Instant>,
    seek_backoff: Backoff,
    /// From the last one given, for the next look.
    random: u64,
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
            leaving: VecDeque::new(),
            seek: None,
            seek_backoff: seeking(),
            random: 0,
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
        let Some(known) = self.current(slot, epoch) else { return };
        let released = known.verified(now);
        let gateway = known.gateway();
        self.gateways[gateway] = Gateway::default();
        self.commands.extend(released.map(|epoch| Command::Release { slot, epoch }));
        self.plan_seek(now);
    }

    /// The gateway is about to stop. The connection lives on for what it carries; the slot looks for another one.
    pub fn draining(&mut self, slot: usize, epoch: u64, now: Instant, random: u64) {
        self.random = random;
        let Some(gateway) = self.spare_ended(slot, epoch).or_else(|| {
            let slot = self.current(slot, epoch)?;
            let gateway = slot.gateway();
            slot.ended(Ending::Closed, now, random);
            Some(gateway)
        }) else {
            return;
        };
        self.gateways[gateway].avoid_until = Some(now + AVOID_DRAINING);
        if self.leaving.len() == LEAVING_MAX {
            self.leaving.pop_front();
        }
        self.leaving.push_back((epoch, gateway));
        self.plan_seek(now);
    }

    /// The connection ended or did not come up. `random` is any evenly spread 64 bits.
    pub fn ended(&mut self, slot: usize, epoch: u64, ending: Ending, now: Instant, random: u64) {
        self.random = random;
        if let Some(left) = self.leaving.iter().position(|(left, _)| *left == epoch) {
            // The process that drained is gone, and the next one may be there soon.
            let gateway = self.leaving.remove(left).map_or(0, |(_, gateway)| gateway);
            self.gateways[gateway].avoid_until = None;
            (self.seek, self.seek_backoff) = (None, seeking());
            return self.plan_seek(now);
        }
        let Some(gateway) = self.spare_ended(slot, epoch).or_else(|| {
            let slot = self.current(slot, epoch)?;
            let gateway = slot.gateway();
            slot.ended(ending, now, random);
            Some(gateway)
        }) else {
            return;
        };
        self.revoked |= ending == Ending::Revoked;
        self.gateways[gateway].failures = self.gateways[gateway].failures.saturating_add(1);
        self.plan_seek(now);
    }

    /// There is a new certificate: slots that wait because the old one was refused try again at once.
    pub fn credential_changed(&mut self, now: Instant) {
        self.slots.iter_mut().for_each(|slot| slot.retry_refused(now));
    }

    /// No further dials; connections that are up are not touched.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.commands.retain(|command| !matches!(command, Command::Dial { .. }));
    }

    /// When [`Self::handle_timeout`] is due; `None` when nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.slots.iter().filter(|slot| !(self.stopped && slot.is_waiting()));
        let seek = self.seek.filter(|_| !self.stopped);
        waits.filter_map(Slot::deadline).chain(seek).min()
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
        if !self.stopped && self.seek.is_some_and(|due| due <= now) {
            self.seek = None;
            match self.doubled() {
                Some(number) if !self.is_held(self.choose(number, now)) => self.dial(number, now),
                _ => self.plan_seek(now),
            }
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Tunnels that are verified.
    pub fn verified_count(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_verified()).count()
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

    /// The connection that a slot has kept beside the one that it makes has ended; gives its gateway.
    fn spare_ended(&mut self, slot: usize, epoch: u64) -> Option<usize> {
        self.slots.get_mut(slot)?.spare_ended(epoch)
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
