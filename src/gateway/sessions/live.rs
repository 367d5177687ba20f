//! A session while it goes on.

use std::sync::Arc;

use warren_core::trace::SpanId;
use warren_tunnel::Meter;

use super::{Attempt, SessionRecord};
use crate::{metrics::SessionMeters, spans::Story};

/// A session that is open or being opened.
#[derive(Debug)]
pub(super) struct Live {
    /// On the heap, so that it goes to the ended ones as it is.
    pub(super) record: Box<SessionRecord>,
    /// Absent for a caller of another gateway, which counts it.
    pub(super) meters: Option<Arc<SessionMeters>>,
    pub(super) meter: Option<Arc<Meter>>,
    /// What its group is called.
    pub(super) label: Arc<str>,
    /// The span of the gateway that passed its caller on.
    pub(super) asked: Option<SpanId>,
    /// Bytes up and down that metrics have seen.
    pub(super) counted: (u64, u64),
}

impl Live {
    /// Of a caller of this gateway.
    pub(super) fn is_own(&self) -> bool {
        self.meters.is_some()
    }

    pub(super) fn attempted(&mut self, attempt: Attempt) {
        // Few sessions need a second.
        self.record.attempts.reserve_exact(1);
        self.record.attempts.push(attempt);
    }

    pub(super) fn now(&self) -> SessionRecord {
        let (bytes_up, bytes_down) = self.carried();
        SessionRecord { bytes_up, bytes_down, ..(*self.record).clone() }
    }

    pub(super) fn story(&self) -> Story {
        Story { record: (*self.record).clone(), group: self.label.clone(), asked: self.asked }
    }

    /// Bytes up and down so far.
    pub(super) fn carried(&self) -> (u64, u64) {
        self.meter.as_ref().map_or((0, 0), |meter| (meter.sent(), meter.received()))
    }

    pub(super) fn count(&mut self) {
        let (now, before) = (self.carried(), self.counted);
        if let Some(meters) = &self.meters {
            meters.carried(now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        }
        self.counted = now;
    }
}
