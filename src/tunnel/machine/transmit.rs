//! Which bytes leave next.
//!
//! Little is queued in front of the connection: each call of [`Tunnel::poll_transmit`] makes one batch, and only when the
//! batch before has left. In a batch go, in this order,
//! 1. control: hello, pings, answers, opens, resets, credit – all of it before any data;
//! 2. sparse sessions: those that had nothing waiting and have little to say, such as a keystroke – half a batch at most,
//!    so that many of them cannot starve the rest;
//! 3. bulk: round robin, one quantum at a time and at most two frames of one session.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use bytes::{Bytes, BytesMut};

use super::{CreditDue, Lane, Phase, SessionPhase, Tunnel, operations::SPARSE_MAX};
use crate::frame::{Frame, OpenResult, encode, encode_data_header};

const BATCH_FRAMES: usize = 64;
/// What a bulk session may send before the next one's turn.
const QUANTUM: usize = 16 * 1024;
const FRAMES_PER_SESSION: u8 = 2;
/// Pings that wait for their answer; more come only from a peer that does not wait itself.
const PONGS_MAX: usize = 16;

/// What waits to leave, by urgency. Sessions wait by id; one that is gone meanwhile is passed over.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    hello: Option<Frame>,
    pongs: VecDeque<u64>,
    control: VecDeque<Frame>,
    credits: VecDeque<u64>,
    sparse: VecDeque<u64>,
    bulk: VecDeque<u64>,
    scratch: BytesMut,
    batch: u64,
    frames: u64,
}

impl Lanes {
    pub(super) fn new(hello: Frame) -> Self {
        Self { hello: Some(hello), ..Self::default() }
    }

    pub(super) fn push_control(&mut self, frame: Frame) {
        self.control.push_back(frame);
    }

    pub(super) fn push_pong(&mut self, nonce: u64) {
        if self.pongs.len() < PONGS_MAX {
            self.pongs.push_back(nonce);
        }
    }

    pub(super) fn push_credit(&mut self, session: u64) {
        self.credits.push_back(session);
    }

    /// Frames encoded so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Sessions that the peer is asked for, or to go on with, by what has not left yet.
    pub(super) fn asks(&self) -> impl Iterator<Item = u64> {
        let asks = |frame: &&Frame| matches!(frame, Frame::Open { .. } | Frame::Resume { .. });
        self.control.iter().filter(asks).map(Frame::session)
    }

    /// Of those, the ones that are asked for.
    pub(super) fn opens(&self) -> impl Iterator<Item = u64> {
        self.control.iter().filter(|frame| matches!(frame, Frame::Open { .. })).map(Frame::session)
    }

    /// Drops all but the hello, which must go before anything else, and the first `endings_max` ends of sessions that the
    /// peer knows: a reset or a refusal that was queued says more than the loss of the tunnel.
    pub(super) fn clear(&mut self, endings_max: usize) {
        let unheard: BTreeSet<u64> = self.asks().collect();
        let queued = std::mem::take(&mut self.control);
        let ends = |frame: &Frame| match frame {
            Frame::Reset { session, .. } => !unheard.contains(session),
            Frame::OpenAck { result, .. } => *result != OpenResult::Ok,
            _ => false,
        };
        let control = queued.into_iter().filter(ends).take(endings_max).collect();
        let (batch, frames) = (self.batch, self.frames);
        *self = Self { hello: self.hello.take(), control, batch, frames, ..Self::default() };
    }

    fn is_empty(&self) -> bool {
        self.hello.is_none()
            && self.pongs.is_empty()
            && self.control.is_empty()
            && self.credits.is_empty()
            && self.sparse.is_empty()
            && self.bulk.is_empty()
    }

    fn put(&mut self, frame: &Frame) {
        self.frames += 1;
        encode(frame, &mut self.scratch);
    }

    /// Moves the encoded headers so far into `out`, so that a payload may follow.
    fn flush(&mut self, out: &mut Vec<Bytes>) {
        if !self.scratch.is_empty() {
            out.push(self.scratch.split().freeze());
        }
    }
}

impl Tunnel {
    /// Whether [`poll_transmit`](Self::poll_transmit) may have something.
    pub fn has_transmit(&self) -> bool {
        self.phase != Phase::Closed && (!self.lanes.is_empty() || self.pulse.has_ping())
    }

    /// A session is about to be asked for here, or to be gone on with.
    pub fn is_about_to_ask(&self) -> bool {
        self.lanes.asks().next().is_some()
    }

    /// Appends the next batch of whole frames, about `max_bytes` long, in pieces; gives its length, 0 when nothing waits.
    pub fn poll_transmit(&mut self, now: Instant, max_bytes: usize, out: &mut Vec<Bytes>) -> usize {
        if self.phase == Phase::Closed {
            return 0;
        }
        let first = out.len();
        self.lanes.batch += 1;
        self.transmit_control(now);
        if self.lanes.scratch.len() < max_bytes && self.transmit_queue(max_bytes) {
            self.transmit_credits(now, max_bytes);
            let frames = self.transmit_sparse(max_bytes / 2, out);
            let used: usize = out[first..].iter().map(Bytes::len).sum();
            self.transmit_bulk(max_bytes.saturating_sub(used), BATCH_FRAMES - frames, out);
        }
        self.lanes.flush(out);
        out[first..].iter().map(Bytes::len).sum()
    }

    /// Puts a session that can send in a lane, unless it is in one.
    pub(super) fn schedule(&mut self, id: u64, lane: Lane) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let waits = matches!(entry.phase, SessionPhase::Resuming { .. });
        if waits
            || entry.lane != Lane::None
            || (entry.session.sendable() == 0 && !entry.session.fin_sendable())
        {
            return;
        }
        entry.lane = lane;
        match lane {
            Lane::Sparse => self.lanes.sparse.push_back(id),
            Lane::Bulk | Lane::None => self.lanes.bulk.push_back(id),
        }
    }

    fn transmit_control(&mut self, now: Instant) {
        if let Some(hello) = self.lanes.hello.take() {
            self.lanes.put(&hello);
        }
        if let Some(nonce) = self.pulse.poll_ping(now) {
            self.lanes.put(&Frame::Ping { nonce });
        }
        while let Some(nonce) = self.lanes.pongs.pop_front() {
            self.lanes.put(&Frame::Pong { nonce });
        }
    }

    /// True when the queue was emptied: data of a session must not overtake its open.
    fn transmit_queue(&mut self, max_bytes: usize) -> bool {
        while self.lanes.scratch.len() < max_bytes {
            let Some(frame) = self.lanes.control.pop_front() else { return true };
            self.lanes.put(&frame);
            if matches!(frame, Frame::Close { .. }) {
                self.phase = Phase::Closed;
            }
        }
        self.lanes.control.is_empty()
    }

    fn transmit_credits(&mut self, now: Instant, max_bytes: usize) {
        let (rtt, window_max) = (self.pulse.rtt_min(), self.config.window_max);
        while self.lanes.scratch.len() < max_bytes {
            let Some(id) = self.lanes.credits.pop_front() else { return };
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            entry.credit_listed = CreditDue::No;
            let (consumed, window) = entry.session.credit(now, rtt, window_max);
            self.lanes.put(&Frame::Credit { session: id, consumed, window });
            self.remove_if_over(id);
        }
    }

    fn transmit_sparse(&mut self, max_bytes: usize, out: &mut Vec<Bytes>) -> usize {
        let (mut bytes, mut frames) = (0, 0);
        while bytes < max_bytes && frames < BATCH_FRAMES / 2 {
            let Some(id) = self.lanes.sparse.pop_front() else { break };
            bytes += self.transmit_session(id, SPARSE_MAX, out);
            frames += 1;
            self.schedule(id, Lane::Bulk);
        }
        frames
    }

    fn transmit_bulk(&mut self, max_bytes: usize, max_frames: usize, out: &mut Vec<Bytes>) {
        let (mut bytes, mut frames, mut passed) = (0, 0, 0);
        while bytes < max_bytes && frames < max_frames && passed < self.lanes.bulk.len() {
            let Some(id) = self.lanes.bulk.pop_front() else { return };
            let batch = self.lanes.batch;
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            match entry.batch {
                (number, count) if number == batch && count >= FRAMES_PER_SESSION => {
                    self.lanes.bulk.push_back(id);
                    passed += 1;
                    continue;
                }
                (number, count) => entry.batch = (batch, if number == batch { count + 1 } else { 1 }),
            }
            // Alone, a session need not leave room for others.
            let quantum = if self.lanes.bulk.is_empty() { usize::MAX } else { QUANTUM };
            bytes += self.transmit_session(id, quantum, out);
            frames += 1;
            self.schedule(id, Lane::Bulk);
        }
    }

    /// One data frame of a session and, behind its last byte, the fin; gives the payload's length. Takes it off its lane.
    fn transmit_session(&mut self, id: u64, max: usize, out: &mut Vec<Bytes>) -> usize {
        let frame_max = self.peer.map_or(0, |peer| peer.max_frame).min(self.config.max_frame) as usize;
        let Some(entry) = self.sessions.get_mut(&id) else { return 0 };
        entry.lane = Lane::None;
        let count = entry.session.sendable().min(max).min(frame_max);
        if count > 0 {
            self.lanes.frames += 1;
            encode_data_header(id, entry.session.sent(), count, &mut self.lanes.scratch);
            self.lanes.flush(out);
            entry.session.next_data(count, out);
        }
        if entry.session.fin_sendable() {
            let offset = entry.session.next_fin();
            self.lanes.put(&Frame::Fin { session: id, offset });
        }
        self.wake_writer(id);
        self.remove_if_over(id);
        count
    }
}
