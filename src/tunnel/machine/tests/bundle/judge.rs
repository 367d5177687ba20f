//! Which sessions may be lost, and why. All other losses are faults.
//!
//! A loss is fair when
//! - **cut**: the application at either end cut the session, or refused it;
//! - **follows**: the other end was told of a fair loss before, or of the end of an open;
//! - **closed**: the tunnel that carried it was closed by an end that wants its sessions ended;
//! - **unsaid**: its open was not answered, nothing was written, and there was no other tunnel: another agent may be asked;
//! - **unheard**: the tunnel broke before the open reached the agent's application;
//! - **expired**: for as long as a session may wait, no tunnel carried both ways;
//! - **late**: the open had no answer in its time, because nobody gave one or because the network was not whole;
//! - **busy**: limits or a spent budget refused it;
//! - **restarted**: the peer was said to be gone.

use std::{collections::BTreeMap, time::Duration};

use super::{
    net::{AGENT, GATEWAY, Told},
    world::World,
};
use crate::frame::{OpenResult, ResetReason};

/// A tunnel is good when it has carried for this long: latency, and the time until both ends know.
pub(super) const PROVEN: Duration = Duration::from_secs(1);
/// What the agent waits longer than the gateway.
const AGENT_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fair {
    Cut,
    Follows,
    Closed,
    Unsaid,
    Unheard,
    Expired,
    Late,
    Busy,
    Restarted,
}

/// How many losses there were of each kind, and what else came to pass.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) losses: BTreeMap<Fair, u64>,
    pub(super) opened: u64,
    /// Sessions that ended whole at both ends.
    pub(super) whole: u64,
    pub(super) resumed: u64,
    pub(super) tunnels: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (fair, count) in &other.losses {
            *self.losses.entry(*fair).or_default() += count;
        }
        self.opened += other.opened;
        self.whole += other.whole;
        self.resumed += other.resumed;
        self.tunnels += other.tunnels;
        self.bytes += other.bytes;
    }
}

impl World {
    /// Why it is fair that an application was told of a reset.
    pub(super) fn judge_reset(
        &self,
        told: &Told,
        id: u64,
        reason: ResetReason,
        by_peer: bool,
    ) -> Option<Fair> {
        let Told { side, line, alone, .. } = *told;
        let life = &self.lives[&id];
        let (ours, theirs) = (&life.grips[side], &life.grips[1 - side]);
        let (refused, lost) = (life.answered.is_some_and(|(_, yes)| !yes), theirs.lost);
        match (reason, by_peer) {
            (ResetReason::CallerGone | ResetReason::TargetReset, true) if theirs.cut => Some(Fair::Cut),
            (ResetReason::CallerGone | ResetReason::TargetReset, true) if lost => Some(Fair::Follows),
            (ResetReason::Unknown, _) if theirs.cut || refused => Some(Fair::Cut),
            (ResetReason::Unknown, _) if lost => Some(Fair::Follows),
            // The other application had let go of it, and is not told any more.
            (ResetReason::Unknown, _) if theirs.is_done() && self.has_waited(1 - side) => Some(Fair::Expired),
            (ResetReason::Unknown, _) if theirs.is_done() && self.is_ended_for_good(id) => Some(Fair::Closed),
            (ResetReason::TunnelLost | ResetReason::Revoked, false) if line.is_some() => {
                line.filter(|line| self.net.lines[*line].ended_for_good.is_some()).map(|_| Fair::Closed)
            }
            (ResetReason::TunnelLost, false) if alone && self.is_unsaid(side, id) => Some(Fair::Unsaid),
            (ResetReason::TunnelLost, false) if theirs.cut => Some(Fair::Cut),
            (ResetReason::TunnelLost, false) if lost => Some(Fair::Follows),
            (ResetReason::TunnelLost, false) if self.has_waited(side) => Some(Fair::Expired),
            (ResetReason::PeerRestarted, false) if self.restarted => Some(Fair::Restarted),
            _ if self.restarted && ours.held => Some(Fair::Restarted),
            _ => None,
        }
    }

    /// Why it is fair that the gateway was told of an open without a yes.
    pub(super) fn judge_answer(&self, id: u64, result: OpenResult) -> Option<Fair> {
        let life = &self.lives[&id];
        let config = &self.net.hosts[GATEWAY].config;
        match result {
            OpenResult::Refused => life.answered.filter(|(_, yes)| !yes).map(|_| Fair::Cut),
            OpenResult::Busy => (self.tight && life.offered == 0).then_some(Fair::Busy),
            // It never came there, or the agent's application let go of it without a word.
            OpenResult::Internal if life.offered == 0 => Some(Fair::Unheard),
            OpenResult::Internal => life.grips[AGENT].cut.then_some(Fair::Cut),
            OpenResult::Timeout => {
                let in_time = self.net.now < life.opened_at + Duration::from_secs(5) + config.open_grace;
                let disturbed = self.disturbed_at.is_some_and(|at| at >= life.opened_at);
                let unanswered = life.answered.is_none_or(|(at, _)| at + PROVEN >= self.net.now);
                (!in_time && (disturbed || unanswered)).then_some(Fair::Late)
            }
            _ => None,
        }
    }

    /// A tunnel that lived with the session was closed for good.
    fn is_ended_for_good(&self, id: u64) -> bool {
        let since = self.lives[&id].opened_at;
        self.net.lines.iter().any(|line| line.ended_for_good.is_some_and(|at| at >= since))
    }

    fn is_unsaid(&self, side: usize, id: u64) -> bool {
        let life = &self.lives[&id];
        side == GATEWAY && !life.opened && life.grips[GATEWAY].written == 0
    }

    /// No tunnel was good for as long as a session waits on that side, less the time to find out.
    fn has_waited(&self, side: usize) -> bool {
        let config = &self.net.hosts[side].config;
        let wait = config.resume_within + if side == AGENT { AGENT_GRACE } else { Duration::ZERO };
        let noticed = config.dead_after;
        self.good_at.is_none_or(|at| self.net.now + noticed >= at + wait)
    }
}
