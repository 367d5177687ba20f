//! What writes the record of one session.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use warren_core::{
    id::{AgentId, GatewayId},
    trace::TraceId,
};
use warren_tunnel::Meter;

use super::{Attempt, ENDED_MAX, Failure, Outcome, SessionLog, live::Live};
use crate::spans::PassedOn;

/// The record of a session that goes on. Dropped without [`Entry::end`], the session counts as stopped by the gateway.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) log: SessionLog,
    pub(super) id: u64,
    pub(super) trace: [u8; 16],
    /// Until it is shown.
    pub(super) draft: Mutex<Option<Live>>,
}

impl Entry {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The session is tried on `member`, called `name` in its group.
    pub(crate) fn tries(&self, member: AgentId, name: String) {
        self.show();
        if let Some(live) = self.log.lock().open.get_mut(&self.id) {
            live.record.member = Some(member);
            live.record.member_name = name;
        }
    }

    /// It came to nothing on the member that was tried last.
    pub(crate) fn attempted(&self, attempt: Attempt) {
        if let Some(live) = self.log.lock().open.get_mut(&self.id) {
            live.attempted(attempt);
        }
    }

    /// The session is open on the member that was tried last; `meter` counts its bytes from here on.
    pub(crate) fn carried(&self, attempt: Attempt, meter: Arc<Meter>) {
        self.opened(|live| {
            live.attempted(attempt);
            live.meter = Some(meter);
        });
    }

    /// The session is open on another gateway, which has the record of its member.
    pub(crate) fn passed_on(&self, gateway: GatewayId, meter: Arc<Meter>) {
        self.opened(|live| {
            (live.record.member, live.record.member_name) = (None, format!("at {gateway}"));
            live.meter = Some(meter);
        });
    }

    /// Another gateway was asked.
    pub(crate) fn asked(&self, asked: &PassedOn) {
        if self.log.spans.follows(self.trace) {
            self.log.spans.passed_on(TraceId(self.trace), self.id, asked);
        }
    }

    /// The session is open from here on, as `note` notes.
    fn opened(&self, note: impl FnOnce(&mut Live)) {
        let followed = self.log.spans.follows(self.trace);
        let mut log = self.log.lock();
        let Some(live) = log.open.get_mut(&self.id) else { return };
        note(live);
        let story = followed.then(|| live.story());
        drop(log);
        if let Some(story) = story {
            self.log.spans.opened(&story);
        }
    }

    pub(crate) fn end(self, outcome: Outcome, detail: String) {
        self.close(outcome, detail);
    }

    pub(super) fn show(&self) {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(live) = draft {
            let mut log = self.log.lock();
            log.own += usize::from(live.is_own());
            log.open.insert(self.id, live);
        }
    }

    fn close(&self, outcome: Outcome, detail: String) {
        let closed = Some(SystemTime::now());
        let followed = self.log.spans.follows(self.trace);
        let mut log = self.log.lock();
        let Some(mut live) = log.open.remove(&self.id) else { return };
        log.own -= usize::from(live.is_own());
        live.count();
        (live.record.bytes_up, live.record.bytes_down) = live.carried();
        (live.record.closed, live.record.outcome, live.record.detail) = (closed, outcome, detail);
        let story = followed.then(|| live.story());
        let oldest = if log.ended.len() == ENDED_MAX { log.ended.pop_front() } else { None };
        log.ended.push_back(live.record);
        drop(log);
        if let Some(meters) = &live.meters {
            meters.ended(outcome.as_str());
        }
        if let Some(story) = story {
            if live.meter.is_none() {
                self.log.spans.opened(&story);
            }
            self.log.spans.ended(&story);
        }
        drop(oldest);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.close(Outcome::NotOpened(Failure::Stopping), "gateway stopped".to_owned());
    }
}
