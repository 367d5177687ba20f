//! What happens because time passes.

use std::time::Instant;

use super::{CreditDue, Event, Liveness, Phase, Tunnel};
use crate::frame::{CloseReason, Frame, OpenResult, ResetReason, SessionKind};

/// What both ends are told of a session that a drain cuts.
pub(crate) const STILL_OPEN: &str = "still open at the end of the drain";

impl Tunnel {
    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let times = match self.phase {
            Phase::Greeting => [Some(self.hello_by), None, None, None],
            Phase::Ready => [
                self.pulse.poll_timeout(),
                self.open_deadlines.first().map(|(at, _)| *at),
                self.credit_at,
                self.drain.as_ref().filter(|drain| !drain.done).map(|drain| drain.at),
            ],
            Phase::Closing | Phase::Closed => [None; 4],
        };
        times.into_iter().flatten().min()
    }

    /// Does what is due. Calling it early or late is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Greeting if now >= self.hello_by => {
                let detail = format!("no hello within {:?}", self.config.hello_within);
                self.end(CloseReason::NotAlive, &detail, false, true);
            }
            Phase::Ready => {
                self.check_pulse(now);
                self.expire_opens(now);
                self.release_credits(now);
                self.expire_drain(now);
            }
            Phase::Greeting | Phase::Closing | Phase::Closed => {}
        }
    }

    fn check_pulse(&mut self, now: Instant) {
        match self.pulse.handle_timeout(now) {
            Some(Liveness::Suspect) => self.events.push_back(Event::Suspect),
            Some(Liveness::Dead) => {
                let detail = format!("nothing heard for {:?}", self.config.dead_after);
                self.end(CloseReason::NotAlive, &detail, false, true);
            }
            Some(Liveness::Alive) | None => {}
        }
    }

    fn expire_opens(&mut self, now: Instant) {
        while let Some((_, session)) = self.open_deadlines.first().copied().filter(|(at, _)| now >= *at) {
            let detail = "the agent did not answer in time".to_owned();
            let reset = Frame::Reset {
                session,
                reason: ResetReason::CallerGone,
                detail: "open timed out".to_owned(),
            };
            self.lanes.push_control(reset);
            self.remove(session);
            self.events.push_back(Event::Opened { session, result: OpenResult::Timeout, detail });
        }
    }

    fn release_credits(&mut self, now: Instant) {
        if self.credit_at.is_none_or(|at| now < at) {
            return;
        }
        self.credit_at = None;
        for id in std::mem::take(&mut self.credit_later) {
            if let Some(entry) = self.sessions.get_mut(&id)
                && entry.credit_listed == CreditDue::Later
            {
                entry.credit_listed = CreditDue::Now;
                self.lanes.push_credit(id);
            }
        }
    }

    fn expire_drain(&mut self, now: Instant) {
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.done && now >= drain.at) else { return };
        // Set first, so that the cuts below do not each report the end of the drain.
        drain.done = true;
        let is_resource = |entry: &super::Entry| entry.kind == SessionKind::Resource;
        let mut ids: Vec<u64> =
            self.sessions.iter().filter(|(_, entry)| is_resource(entry)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in &ids {
            self.cut(*id, ResetReason::Draining, STILL_OPEN);
        }
        self.events.push_back(Event::Drained { cut: ids.len() });
    }
}
