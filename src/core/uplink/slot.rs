//! One of an agent's parallel tunnels.

use std::time::{Duration, Instant};

use super::{Ending, PATIENT_MIN, VERIFY_WITHIN, patient, quick};
use crate::backoff::Backoff;

/// For so long the sessions of a tunnel that broke wait for another one, unless people say otherwise.
const SESSIONS_WAIT: Duration = Duration::from_secs(30);
/// And so long is a wait for the next dial at most meanwhile: the outage may be over at any moment.
const WAIT_MAX_FOR_SESSIONS: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dials at `until`; `refused` when the last end needs people.
    Waiting {
        until: Instant,
        refused: bool,
    },
    Dialling,
    /// Connected, but the gateway has not used it yet; `until` is absent once it is being recycled.
    Unproven {
        until: Option<Instant>,
    },
    Verified {
        since: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Slot {
    phase: Phase,
    gateway: usize,
    epoch: u64,
    /// The verified connection that is kept while another is made to take its place.
    spare: Option<Spare>,
    /// When its last verified connection ended.
    lost: Option<Instant>,
    quick: Backoff,
    patient: Backoff,
}

#[derive(Debug, Clone, Copy)]
struct Spare {
    gateway: usize,
    epoch: u64,
    since: Instant,
}

impl Slot {
    pub(super) fn waiting_until(until: Instant) -> Self {
        let phase = Phase::Waiting { until, refused: false };
        Self { phase, gateway: 0, epoch: 0, spare: None, lost: None, quick: quick(), patient: patient() }
    }

    pub(super) fn dial(&mut self, gateway: usize, epoch: u64) {
        if let Phase::Verified { since } = self.phase {
            self.spare = Some(Spare { gateway: self.gateway, epoch: self.epoch, since });
        }
        (self.phase, self.gateway, self.epoch) = (Phase::Dialling, gateway, epoch);
    }

    pub(super) fn connected(&mut self, now: Instant) {
        if self.phase == Phase::Dialling {
            self.phase = Phase::Unproven { until: Some(now + VERIFY_WITHIN) };
        }
    }

    /// Gives the connection that is not needed any more.
    pub(super) fn verified(&mut self, now: Instant) -> Option<u64> {
        if matches!(self.phase, Phase::Dialling | Phase::Unproven { .. }) {
            self.phase = Phase::Verified { since: now };
        }
        self.spare.take().map(|spare| spare.epoch)
    }

    /// Forgets the connection that was kept, if that is the one; gives its gateway.
    pub(super) fn spare_ended(&mut self, epoch: u64) -> Option<usize> {
        self.spare.take_if(|spare| spare.epoch == epoch).map(|spare| spare.gateway)
    }

    pub(super) fn recycling(&mut self) {
        self.phase = Phase::Unproven { until: None };
    }

    pub(super) fn ended(&mut self, ending: Ending, now: Instant, random: u64) {
        if let Phase::Verified { since } = self.phase {
            let uptime = now.saturating_duration_since(since);
            self.quick.connected_for(uptime);
            self.patient.connected_for(uptime);
            self.lost = Some(now);
        }
        if let Some(Spare { gateway, epoch, since }) = self.spare.take() {
            (self.phase, self.gateway, self.epoch) = (Phase::Verified { since }, gateway, epoch);
            return;
        }
        let refused = ending.needs_people();
        let wait = match refused {
            true => self.patient.next_wait(random).max(PATIENT_MIN),
            false => {
                let sessions_wait =
                    self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < SESSIONS_WAIT);
                let most = if sessions_wait { WAIT_MAX_FOR_SESSIONS } else { Duration::MAX };
                self.quick.next_wait_within(most, random)
            }
        };
        self.phase = Phase::Waiting { until: now + wait, refused };
    }

    pub(super) fn retry_refused(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Waiting { refused: true, .. }) {
            self.phase = Phase::Waiting { until: now, refused: false };
        }
    }

    /// When something is due for this slot.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Unproven { until } => until,
            Phase::Dialling | Phase::Verified { .. } => None,
        }
    }

    /// Whether it has, or is about to have, a tunnel to `gateway`.
    pub(super) fn holds(&self, gateway: usize) -> bool {
        !self.is_waiting() && self.gateway == gateway
    }

    /// It has a connection through which the gateway has carried data.
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.phase, Phase::Verified { .. }) || self.spare.is_some()
    }

    pub(super) fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn gateway(&self) -> usize {
        self.gateway
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}
