//! What the peer's frames do.

use std::time::{Duration, Instant};

use super::{Entry, Event, Lane, Phase, ProtocolError, Role, SessionPhase, Tunnel, Upcall};
use crate::frame::{CloseReason, Frame, Hello, OpenRequest, OpenResult, ResetReason, SessionKind, VERSION};

/// The least that a hello may offer; below it the tunnel would crawl.
const WINDOW_MIN: u32 = 4 * 1024;
const MAX_FRAME_MIN: u32 = 1024;

impl Tunnel {
    /// Takes one frame. An error has ended the tunnel already: the close frame waits in `poll_transmit`.
    pub fn handle_frame(&mut self, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        if self.is_ended() {
            return Ok(());
        }
        self.frames_in += 1;
        self.receive(frame, now).inspect_err(|error| self.fail(error))
    }

    /// Ends the tunnel because of what the peer sent; for errors found before a frame could be made of it.
    pub fn fail(&mut self, error: &ProtocolError) {
        self.end(CloseReason::ProtocolError, &error.chain(), false, true);
    }

    fn receive(&mut self, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        if self.phase == Phase::Greeting && !matches!(frame, Frame::Hello(_) | Frame::Close { .. }) {
            return Err(ProtocolError::BeforeHello(frame.name()));
        }
        if self.pulse.handle_heard(now) {
            self.events.push_back(Event::Recovered);
        }
        let name = frame.name();
        match frame {
            Frame::Hello(hello) => self.receive_hello(hello, now)?,
            Frame::Open { session, request } => self.receive_open(session, request)?,
            Frame::OpenAck { session, result, window, detail } => {
                self.receive_answer(session, result, window, detail)?;
            }
            Frame::Data { session, offset, bytes } => {
                let Some(entry) = self.carrying(session, name)? else { return Ok(()) };
                let fault = |source| ProtocolError::Session { session, source };
                if entry.released {
                    // Both directions had ended, so that more bytes are a fault; let the offsets say so.
                    return entry.session.handle_data(offset, bytes).map_err(fault);
                }
                entry.session.handle_data(offset, bytes).map_err(fault)?;
                self.wake_reader(session);
            }
            Frame::Credit { session, consumed, window } => {
                let Some(entry) = self.carrying(session, name)? else { return Ok(()) };
                entry
                    .session
                    .handle_credit(consumed, window)
                    .map_err(|source| ProtocolError::Session { session, source })?;
                self.schedule(session, Lane::Bulk);
                self.remove_if_over(session);
            }
            Frame::Fin { session, offset } => {
                let Some(entry) = self.carrying(session, name)? else { return Ok(()) };
                entry
                    .session
                    .handle_fin(offset)
                    .map_err(|source| ProtocolError::Session { session, source })?;
                self.wake_reader(session);
                self.list_credit(session, now);
                self.remove_if_over(session);
            }
            Frame::Reset { session, reason, detail } => self.receive_reset(session, reason, detail, now)?,
            Frame::Ping { nonce } => self.lanes.push_pong(nonce),
            Frame::Pong { nonce } => {
                if let Some(rtt) = self.pulse.handle_pong(nonce, now) {
                    self.events.push_back(Event::RoundTrip { rtt });
                }
            }
            Frame::Drain { deadline_ms, detail } => {
                self.peer_draining = true;
                let deadline = Duration::from_millis(deadline_ms.into());
                self.events.push_back(Event::PeerDraining { deadline, detail });
            }
            Frame::Close { reason, detail } => self.end(reason, &detail, true, false),
            Frame::Resume { session, point } => self.receive_resume(session, point)?,
            Frame::ResumeAck { session, result, point } => {
                self.receive_resume_answer(session, result, point, now)?;
            }
            Frame::Forsaken { epoch } => self.upcalls.push(Upcall::Forsaken { epoch }),
            Frame::Settled { epoch } => self.receive_settled(epoch)?,
        }
        match self.lanes.control_len() {
            count if count > self.config.control_queue_max => Err(ProtocolError::AnswersUnread { count }),
            _ => Ok(()),
        }
    }

    fn receive_hello(&mut self, hello: Hello, now: Instant) -> Result<(), ProtocolError> {
        if self.peer.is_some() {
            return Err(ProtocolError::SecondHello);
        }
        for (field, value, min) in
            [("window", hello.window, WINDOW_MIN), ("max_frame", hello.max_frame, MAX_FRAME_MIN)]
        {
            if value < min {
                return Err(ProtocolError::Hello { field, value, min });
            }
        }
        self.peer = Some(hello);
        if hello.version_min > self.hello.version_max || hello.version_max < self.hello.version_min {
            let theirs = format!("{} to {}", hello.version_min, hello.version_max);
            let detail = format!("protocol version {VERSION} here, {theirs} there: upgrade the older end");
            self.end(CloseReason::VersionMismatch, &detail, false, true);
            return Ok(());
        }
        self.phase = Phase::Ready;
        self.pulse.start(now);
        self.events.push_back(Event::Ready { peer: hello });
        Ok(())
    }

    fn receive_open(&mut self, session: u64, request: OpenRequest) -> Result<(), ProtocolError> {
        if self.role != Role::Agent {
            return Err(ProtocolError::Direction("open"));
        }
        if session <= self.last_opened {
            return Err(ProtocolError::SessionReused { session });
        }
        self.last_opened = session;
        if request.kind == SessionKind::Resource && self.drain.is_some() {
            self.refuse_frame(session, OpenResult::Draining, "the agent is draining");
        } else if let Some(detail) = self.full() {
            self.refuse_frame(session, OpenResult::Busy, detail);
        } else {
            self.insert(session, request.kind, SessionPhase::Offered);
            self.events.push_back(Event::Incoming { session, request });
        }
        Ok(())
    }

    fn receive_answer(
        &mut self,
        session: u64,
        result: OpenResult,
        window: u32,
        detail: String,
    ) -> Result<(), ProtocolError> {
        if self.role != Role::Gateway {
            return Err(ProtocolError::Direction("open_ack"));
        }
        let Some(entry) = self.sessions.get_mut(&session) else {
            return self.unknown(session, "open_ack");
        };
        if !matches!(entry.phase, SessionPhase::Opening { .. }) {
            return Err(ProtocolError::AnsweredTwice { session });
        }
        if result == OpenResult::Ok {
            entry.session.handle_window(window);
            self.change(session, SessionPhase::Open);
            self.schedule(session, Lane::Bulk);
        } else {
            self.remove(session);
        }
        self.events.push_back(Event::Opened { session, result, detail });
        Ok(())
    }

    fn receive_reset(
        &mut self,
        session: u64,
        reason: ResetReason,
        detail: String,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let Some(entry) = self.sessions.get(&session) else {
            return self.unknown(session, "reset");
        };
        let (premature, released) = (entry.phase != SessionPhase::Open, entry.released);
        self.remove(session);
        if !released {
            self.events.push_back(Event::Reset { session, reason, detail, by_peer: true });
        }
        if premature { self.count_premature_reset(now) } else { Ok(()) }
    }

    /// Opens that are reset before their answer cost the peer nothing and us a dial each.
    fn count_premature_reset(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let within = self.config.premature_resets_window;
        let (since, count) = &mut self.premature_resets;
        if now.saturating_duration_since(*since) >= within {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        match *count {
            count if count > self.config.premature_resets_max => {
                Err(ProtocolError::ResetFlood { count, within })
            }
            _ => Ok(()),
        }
    }

    /// The session that a frame is for, if it is still there and may have such frames.
    fn carrying(&mut self, session: u64, frame: &'static str) -> Result<Option<&mut Entry>, ProtocolError> {
        if !self.sessions.contains_key(&session) {
            return self.unknown(session, frame).map(|()| None);
        }
        match self.sessions.get_mut(&session) {
            Some(entry)
                if matches!(entry.phase, SessionPhase::Opening { .. } | SessionPhase::Resuming { .. }) =>
            {
                Err(ProtocolError::Unanswered { frame, session })
            }
            entry => Ok(entry),
        }
    }

    /// Frames may be on their way while we end a session: those are no fault. Frames of a session that never was are.
    pub(super) fn unknown(&self, session: u64, frame: &'static str) -> Result<(), ProtocolError> {
        if session > self.last_opened { Err(ProtocolError::NeverOpened { frame, session }) } else { Ok(()) }
    }

    pub(super) fn wake_reader(&mut self, session: u64) {
        if let Some(entry) = self.sessions.get_mut(&session)
            && std::mem::take(&mut entry.reader_waits)
        {
            self.events.push_back(Event::Readable { session });
        }
    }
}
