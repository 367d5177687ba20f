//! What a tunnel does so that sessions can leave it and come to it.
//!
//! The gateway decides where sessions go on. On the tunnel that it chose it says `Forsaken` (the old one is given up),
//! one `Resume` for each session, and `Settled` (those were all). Each end says what it has received; each end sends again
//! what the other has not, from the bytes that it retains until they are acknowledged.

use std::time::{Duration, Instant};

use super::{Entry, Event, Lane, ProtocolError, Role, SessionPhase, Tunnel};
use crate::frame::{CloseReason, Frame, OpenResult, ResetReason, ResumePoint, ResumeResult};

/// Something that a tunnel has to leave to its bundle.
#[derive(Debug)]
pub(super) enum Upcall {
    /// The tunnel has ended; its sessions, if they go on, are still in it.
    Ended { reason: CloseReason },
    /// The gateway wants a session carried on here.
    Resume { session: u64, point: ResumePoint },
    /// The peer has given a tunnel up.
    Forsaken { epoch: u64 },
    /// The gateway has named all sessions of that tunnel that go on.
    Settled { epoch: u64 },
    /// Agent: a session came to its proper end.
    Over { session: u64 },
}

impl Tunnel {
    /// The number by which both ends know this tunnel: the agent counts its connections.
    pub fn epoch(&self) -> u64 {
        match self.role {
            Role::Agent => self.hello.epoch,
            Role::Gateway => self.peer.map_or(0, |peer| peer.epoch),
        }
    }

    /// From now on its sessions are left in it when it breaks.
    pub(super) fn keep_sessions(&mut self) {
        self.keeps = true;
    }

    pub(super) fn has_upcalls(&self) -> bool {
        !self.upcalls.is_empty()
    }

    /// How long nothing was heard.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.pulse.silence(now)
    }

    pub(super) fn take_upcalls(&mut self) -> Vec<Upcall> {
        std::mem::take(&mut self.upcalls)
    }

    /// The sessions that were kept when the tunnel ended, in the order of their ids.
    pub(super) fn take_kept(&mut self) -> Vec<(u64, Entry)> {
        let kept = |(id, entry): (&u64, &Entry)| (entry.phase != SessionPhase::Lost).then_some(*id);
        let mut ids: Vec<u64> = self.sessions.iter().filter_map(kept).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Some((id, self.detach(id)?))).collect()
    }

    pub(super) fn holds(&self, id: u64) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Takes one session out, to be carried on by another tunnel.
    pub(super) fn detach(&mut self, id: u64) -> Option<Entry> {
        // What is over, and only waits for its reader, goes nowhere.
        self.sessions.get(&id).filter(|entry| entry.phase != SessionPhase::Lost)?;
        let mut entry = self.take(id)?;
        entry.detach();
        Some(entry)
    }

    /// Gateway: goes on here with a session of another tunnel, once the agent agrees.
    pub(super) fn resume(&mut self, id: u64, mut entry: Entry) {
        entry.session.rebind(self.budget.clone());
        entry.phase = SessionPhase::Resuming { opening: entry.phase.open_deadline() };
        let point = entry.session.resume_point();
        self.put(id, entry);
        self.lanes.push_control(Frame::Resume { session: id, point });
    }

    /// Agent: goes on here with a session of another tunnel, from where the gateway stands.
    pub(super) fn take_over(&mut self, id: u64, mut entry: Entry, point: &ResumePoint, now: Instant) {
        if let Err(source) = entry.session.resume(point) {
            self.fail(&ProtocolError::Session { session: id, source });
            let reason = ResetReason::Internal;
            let detail = "resumed at an impossible offset".to_owned();
            self.events.push_back(Event::Reset { session: id, reason, detail, by_peer: true });
            return;
        }
        entry.session.rebind(self.budget.clone());
        let offered = entry.phase == SessionPhase::Offered;
        let result = if offered { ResumeResult::Unanswered } else { ResumeResult::Ok };
        let point = entry.session.resume_point();
        self.put(id, entry);
        self.lanes.push_control(Frame::ResumeAck { session: id, result, point });
        self.schedule(id, Lane::Bulk);
        self.list_credit(id, now);
        self.remove_if_over(id);
    }

    /// Agent: there is no such session to go on with.
    pub(super) fn decline(&mut self, id: u64, result: ResumeResult) {
        self.last_opened = self.last_opened.max(id);
        let point = ResumePoint::default();
        self.lanes.push_control(Frame::ResumeAck { session: id, result, point });
    }

    pub(super) fn say_forsaken(&mut self, epoch: u64) {
        self.lanes.push_control(Frame::Forsaken { epoch });
    }

    pub(super) fn say_settled(&mut self, epoch: u64) {
        self.lanes.push_control(Frame::Settled { epoch });
    }

    pub(super) fn receive_resume(&mut self, session: u64, point: ResumePoint) -> Result<(), ProtocolError> {
        if self.role != Role::Agent {
            return Err(ProtocolError::Direction("resume"));
        }
        if self.sessions.contains_key(&session) {
            return Err(ProtocolError::ResumedInPlace { session });
        }
        if self.keeps {
            self.upcalls.push(Upcall::Resume { session, point });
        } else {
            self.decline(session, ResumeResult::Unknown);
        }
        Ok(())
    }

    pub(super) fn receive_settled(&mut self, epoch: u64) -> Result<(), ProtocolError> {
        if self.role != Role::Agent {
            return Err(ProtocolError::Direction("settled"));
        }
        self.upcalls.push(Upcall::Settled { epoch });
        Ok(())
    }

    pub(super) fn receive_resume_answer(
        &mut self,
        session: u64,
        result: ResumeResult,
        point: ResumePoint,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if self.role != Role::Gateway {
            return Err(ProtocolError::Direction("resume_ack"));
        }
        let Some(entry) = self.sessions.get_mut(&session) else {
            return self.unknown(session, "resume_ack");
        };
        let SessionPhase::Resuming { opening } = entry.phase else {
            return Err(ProtocolError::AnsweredTwice { session });
        };
        match (result, opening) {
            (ResumeResult::Ok | ResumeResult::Unanswered, _) => {
                entry.session.resume(&point).map_err(|source| ProtocolError::Session { session, source })?;
                let next = match (result, opening) {
                    (ResumeResult::Unanswered, Some(deadline)) => SessionPhase::Opening { deadline },
                    (ResumeResult::Unanswered, None) => {
                        return Err(ProtocolError::Unanswered { frame: "resume_ack", session });
                    }
                    _ => SessionPhase::Open,
                };
                self.change(session, next);
                if next == SessionPhase::Open && opening.is_some() {
                    let (result, detail) = (OpenResult::Ok, String::new());
                    self.events.push_back(Event::Opened { session, result, detail });
                }
                self.events.push_back(Event::Resumed { session });
                self.schedule(session, Lane::Bulk);
                self.list_credit(session, now);
                self.remove_if_over(session);
            }
            // The agent has all of ours and we have all of the agent's.
            (ResumeResult::Over, None) if entry.session.is_recv_complete() => {
                let released = entry.released;
                self.change(session, SessionPhase::Lost);
                if released {
                    self.remove(session);
                }
            }
            // As good as a no: somebody else may be asked.
            (ResumeResult::Unheard, Some(_)) => {
                let released = entry.released;
                self.remove(session);
                if !released {
                    let (result, detail) =
                        (OpenResult::Internal, "the open was lost with its tunnel".to_owned());
                    self.events.push_back(Event::Opened { session, result, detail });
                }
            }
            (ResumeResult::Over | ResumeResult::Unknown | ResumeResult::Unheard, _) => {
                let released = entry.released;
                self.remove(session);
                if !released {
                    let (reason, detail) = (ResetReason::Unknown, "the agent holds it no longer".to_owned());
                    self.events.push_back(Event::Reset { session, reason, detail, by_peer: true });
                }
            }
        }
        Ok(())
    }
}
