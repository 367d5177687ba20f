//! What the application may ask for.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Drain, Event, Lane, NotSent, Phase, Received, Refusal, Role, SessionPhase, Tunnel};
use crate::frame::{CloseReason, Frame, NAME_MAX, OpenRequest, OpenResult, ResetReason, SessionKind};

/// A writer that waits is called when its queue has fallen to this part of its bound.
const WRITABLE_FRACTION: usize = 2;
/// A session with no more than this to send goes before the bulk.
pub(super) const SPARSE_MAX: usize = 2 * 1024;

impl Tunnel {
    /// Gateway: asks for a session. `id` must be above every id opened on this tunnel before. Bytes may be sent at once;
    /// the answer comes as [`Event::Opened`].
    pub fn open(&mut self, id: u64, request: OpenRequest, now: Instant) -> Result<(), Refusal> {
        let refuse = |result, detail| Err(Refusal { result, detail });
        if self.role != Role::Gateway || id <= self.last_opened || self.phase != Phase::Ready {
            return refuse(OpenResult::Internal, "the tunnel cannot open this session");
        }
        if request.name.len() > NAME_MAX {
            return refuse(OpenResult::Unknown, "no resource has a name that long");
        }
        if request.kind == SessionKind::Resource && (self.drain.is_some() || self.peer_draining) {
            return refuse(OpenResult::Draining, "the tunnel is draining");
        }
        if let Some(detail) = self.full() {
            return refuse(OpenResult::Busy, detail);
        }
        if self.lanes.control_len() >= self.config.control_queue_max / 2 {
            return refuse(OpenResult::Busy, "too much waits to be sent on this tunnel");
        }
        let deadline = now + request.deadline + self.config.open_grace;
        self.insert(id, request.kind, SessionPhase::Opening { deadline });
        self.lanes.push_control(Frame::Open { session: id, request });
        Ok(())
    }

    /// Agent: the target is there, bytes may flow.
    pub fn accept(&mut self, id: u64) {
        if self.sessions.get(&id).is_some_and(|entry| entry.phase == SessionPhase::Offered) {
            self.change(id, SessionPhase::Open);
            let window = self.config.window_initial;
            let result = OpenResult::Ok;
            self.lanes.push_control(Frame::OpenAck { session: id, result, window, detail: String::new() });
        }
    }

    /// Agent: no session, and why.
    pub fn refuse(&mut self, id: u64, result: OpenResult, detail: &str) {
        debug_assert_ne!(result, OpenResult::Ok, "accept() says ok");
        if self.sessions.get(&id).is_some_and(|entry| entry.phase == SessionPhase::Offered) {
            self.remove(id);
            self.refuse_frame(id, result, detail);
        }
    }

    /// Bytes that [`send`](Self::send) would take now. When that is 0, [`Event::Writable`] follows.
    pub fn send_room(&mut self, id: u64) -> Result<usize, NotSent> {
        let entry = self.sessions.get_mut(&id).ok_or(NotSent::Gone)?;
        entry.send_room(&self.config)
    }

    /// Bytes taken by [`send`](Self::send) that the peer's application has not taken yet; 0 for a session that is gone.
    pub fn unacknowledged(&self, id: u64) -> u64 {
        self.sessions.get(&id).map_or(0, |entry| entry.session.unacknowledged())
    }

    /// Queues the head of `bytes`, as much as there is room for, and gives the count. When that is 0 there is no room, and
    /// [`Event::Writable`] follows.
    pub fn send(&mut self, id: u64, bytes: &mut Bytes) -> Result<usize, NotSent> {
        let entry = self.sessions.get_mut(&id).ok_or(NotSent::Gone)?;
        let fresh = entry.session.queued() == 0;
        let count = entry.send(bytes, &self.config)?;
        let lane = if fresh && count <= SPARSE_MAX { Lane::Sparse } else { Lane::Bulk };
        self.schedule(id, lane);
        Ok(count)
    }

    /// The next received bytes, at most `max` of them.
    pub fn recv(&mut self, id: u64, max: usize, now: Instant) -> Received {
        let Some(entry) = self.sessions.get_mut(&id) else { return Received::Gone };
        let received = entry.recv(max, now);
        if matches!(received, Received::Bytes(_)) {
            self.list_credit(id, now);
        }
        received
    }

    /// Ends our direction behind what is queued. A second call does nothing.
    pub fn finish(&mut self, id: u64) {
        if let Some(entry) = self.sessions.get_mut(&id).filter(|entry| entry.phase != SessionPhase::Lost) {
            entry.session.finish();
            self.schedule(id, Lane::Sparse);
        }
    }

    /// Cuts the session at once, in both directions.
    pub fn reset(&mut self, id: u64, reason: ResetReason, detail: &str) {
        match self.sessions.get(&id).map(|entry| entry.phase) {
            None => {}
            Some(SessionPhase::Lost) => self.remove(id),
            Some(_) => self.cut(id, reason, detail),
        }
    }

    /// The application holds the session no longer. When both directions have ended, what is queued still leaves;
    /// otherwise the session is cut.
    pub fn release(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        match entry.phase {
            SessionPhase::Lost => self.remove(id),
            SessionPhase::Offered => self.refuse(id, OpenResult::Internal, "the agent gave no answer"),
            SessionPhase::Open | SessionPhase::Resuming { opening: None }
                if entry.session.is_send_finished() && entry.session.is_recv_complete() =>
            {
                entry.released = true;
                entry.session.discard_received();
                self.list_credit(id, now);
                self.remove_if_over(id);
            }
            SessionPhase::Open | SessionPhase::Opening { .. } | SessionPhase::Resuming { .. } => {
                let reason = match self.role {
                    Role::Gateway => ResetReason::CallerGone,
                    Role::Agent => ResetReason::TargetReset,
                };
                self.cut(id, reason, "closed before its end");
            }
        }
    }

    /// Asks for no new sessions and gives those that exist until `deadline`; then they are cut. The end comes as
    /// [`Event::Drained`]. A second call may only shorten the deadline.
    pub fn drain(&mut self, deadline: Duration, detail: &str, now: Instant) {
        if self.is_ended() {
            return;
        }
        let at = now + deadline;
        match &mut self.drain {
            Some(drain) => drain.at = drain.at.min(at),
            None => self.drain = Some(Drain { at, done: false }),
        }
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        self.lanes.push_control(Frame::Drain { deadline_ms, detail: detail.to_owned() });
        self.check_drained();
    }

    /// Ends the tunnel and tells the peer why.
    pub fn close(&mut self, reason: CloseReason, detail: &str) {
        self.end(reason, detail, false, true);
    }

    /// The connection is gone: there is nobody to tell.
    pub fn lost(&mut self, detail: &str) {
        self.end(CloseReason::NotAlive, detail, false, false);
    }

    /// Why no further session fits, if so.
    pub(super) fn full(&self) -> Option<&'static str> {
        if self.sessions.len() >= self.config.sessions_max {
            Some("too many sessions on this tunnel")
        } else if self.unanswered >= self.config.pending_opens_max {
            Some("too many opens without an answer")
        } else if self.budget.is_spent() {
            Some("no memory left for sessions")
        } else {
            None
        }
    }

    /// Tells a waiting writer that there is room again.
    pub(super) fn wake_writer(&mut self, id: u64) {
        if let Some(entry) = self.sessions.get_mut(&id)
            && entry.writer_waits
            && entry.session.queued() <= entry.queue_max(&self.config) / WRITABLE_FRACTION
        {
            entry.writer_waits = false;
            self.events.push_back(Event::Writable { session: id });
        }
    }
}
