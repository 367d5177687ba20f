//! Between plaintext and records: the part that asks rustls.

use std::io::{self, IoSlice};

use bytes::{Buf, BytesMut};
use rustls::{
    CommonState,
    client::{ClientConnectionData, UnbufferedClientConnection},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};
use tokio::io::ReadBuf;

use super::broken;

/// Plaintext of one record.
const RECORD: usize = 16 * 1024;
/// What a record is longer than its plaintext, at most.
const OVERHEAD: usize = 64;
/// Slices below this are gathered, so that headers do not cost a record each.
const SMALL: usize = 4 * 1024;
/// Plaintext taken by one write.
const WRITE_MAX: usize = 256 * 1024;
/// A buffer up to this size may stay with an idle connection.
const KEPT: usize = 32 * 1024;

/// The TLS session of either end.
pub(super) enum Records {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Where a connection is once all that came has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The handshake waits for the peer.
    NeedsMore,
    Open,
    /// The peer sends nothing more.
    Ended,
}

/// Ciphertext on its way to the socket, in a buffer that is written from front to back and then used again.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Records {
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Client(session) => session,
            Self::Server(session) => session,
        }
    }

    /// Looks at all of `incoming` that is whole. Plaintext goes to `out` as long as it has room, then to `spare`; answers of
    /// the protocol go to `outgoing`, also when this fails.
    pub(super) fn decipher(
        &mut self,
        incoming: &mut BytesMut,
        out: Option<&mut ReadBuf<'_>>,
        spare: &mut BytesMut,
        outgoing: &mut Outgoing,
    ) -> io::Result<Step> {
        let sink = Sink { out, spare };
        match self {
            Self::Client(session) => drive(session, incoming, sink, outgoing, |_, _| Ok(())),
            Self::Server(session) => drive(session, incoming, sink, outgoing, |_, _| Ok(())),
        }
    }

    /// Makes records of the head of `slices`, at most [`WRITE_MAX`] of it; gives the count of bytes taken.
    pub(super) fn encipher(
        &mut self,
        slices: &[IoSlice<'_>],
        incoming: &mut BytesMut,
        spare: &mut BytesMut,
        outgoing: &mut Outgoing,
    ) -> io::Result<usize> {
        let sink = Sink { out: None, spare };
        let mut taken = 0;
        match self {
            Self::Client(session) => drive(session, incoming, sink, outgoing, |mut traffic, outgoing| {
                encipher(&mut traffic, slices, outgoing).map(|count| taken = count)
            }),
            Self::Server(session) => drive(session, incoming, sink, outgoing, |mut traffic, outgoing| {
                encipher(&mut traffic, slices, outgoing).map(|count| taken = count)
            }),
        }?;
        Ok(taken)
    }

    /// Says that nothing follows.
    pub(super) fn close(
        &mut self,
        incoming: &mut BytesMut,
        spare: &mut BytesMut,
        outgoing: &mut Outgoing,
    ) -> io::Result<()> {
        let sink = Sink { out: None, spare };
        let step = match self {
            Self::Client(session) => drive(session, incoming, sink, outgoing, |mut traffic, outgoing| {
                outgoing.put(OVERHEAD, |room| traffic.queue_close_notify(room)).map_err(exhausted)
            }),
            Self::Server(session) => drive(session, incoming, sink, outgoing, |mut traffic, outgoing| {
                outgoing.put(OVERHEAD, |room| traffic.queue_close_notify(room)).map_err(exhausted)
            }),
        };
        step.map(drop)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}

/// Where plaintext goes.
struct Sink<'a, 'b> {
    out: Option<&'a mut ReadBuf<'b>>,
    spare: &'a mut BytesMut,
}

impl Sink<'_, '_> {
    fn put(&mut self, plain: &[u8]) {
        let mut rest = plain;
        if let Some(out) = self.out.as_mut().filter(|_| self.spare.is_empty()) {
            let (head, tail) = rest.split_at(rest.len().min(out.remaining()));
            out.put_slice(head);
            rest = tail;
        }
        self.spare.extend_from_slice(rest);
    }
}

/// What both ends of a TLS session can do.
trait Session {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether the next call of [`Self::process`] gives ciphertext without looking at what came.
    fn has_to_send(&self) -> bool;
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_to_send(&self) -> bool {
        self.wants_write()
    }
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_to_send(&self) -> bool {
        self.wants_write()
    }
}

/// Asks rustls for its next state until it waits for somebody; once application data may be sent, `write` may do so.
fn drive<S: Session>(
    session: &mut S,
    incoming: &mut BytesMut,
    mut sink: Sink<'_, '_>,
    outgoing: &mut Outgoing,
    mut write: impl FnMut(WriteTraffic<'_, S::Data>, &mut Outgoing) -> io::Result<()>,
) -> io::Result<Step> {
    let mut ended = false;
    let mut failed = None;
    loop {
        // The alert is out, and what it is about must not be looked at again: rustls takes it for another failure.
        if let Some(error) = failed.take_if(|_| !session.has_to_send()) {
            return Err(broken(error));
        }
        let UnbufferedStatus { mut discard, state } = session.process(incoming);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(broken)?;
                    discard += record.discard;
                    sink.put(record.payload);
                }
                None
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(outgoing, |room| data.encode(room))?;
                None
            }
            // It is in order with everything else that leaves.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed) => {
                ended = true;
                None
            }
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                write(traffic, outgoing)?;
                Some(if ended { Step::Ended } else { Step::Open })
            }
            Ok(ConnectionState::BlockedHandshake) => Some(Step::NeedsMore),
            Ok(ConnectionState::Closed) => Some(Step::Ended),
            Ok(_) => return Err(io::Error::other("early data was never offered")),
            // The alert comes with the next call.
            Err(error) => {
                failed = Some(error);
                None
            }
        };
        incoming.advance(discard);
        if let (Some(step), None) = (step, &failed) {
            return Ok(step);
        }
    }
}

fn encode(
    outgoing: &mut Outgoing,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    match encode(outgoing.room(RECORD)) {
        Ok(count) => outgoing.to += count,
        Err(EncodeError::InsufficientSize(needed)) => {
            outgoing.to += encode(outgoing.room(needed.required_size)).map_err(io::Error::other)?;
        }
        Err(error) => return Err(io::Error::other(error)),
    }
    Ok(())
}

/// Small slices are gathered into one record, large ones are enciphered where they are.
fn encipher<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    slices: &[IoSlice<'_>],
    outgoing: &mut Outgoing,
) -> io::Result<usize> {
    let (mut taken, mut gathered) = (0, Vec::new());
    let mut put = |plain: &[u8], outgoing: &mut Outgoing| {
        let most = plain.len() + plain.len().div_ceil(RECORD) * OVERHEAD + OVERHEAD;
        outgoing.put(most, |room| traffic.encrypt(plain, room)).map_err(exhausted)
    };
    for slice in slices {
        let piece = &slice[..slice.len().min(WRITE_MAX - taken)];
        taken += piece.len();
        if piece.len() < SMALL {
            gathered.extend_from_slice(piece);
            if gathered.len() > RECORD - SMALL {
                put(&gathered, outgoing)?;
                gathered.clear();
            }
        } else {
            if !gathered.is_empty() {
                put(&gathered, outgoing)?;
                gathered.clear();
            }
            put(piece, outgoing)?;
        }
        if taken == WRITE_MAX {
            break;
        }
    }
    if !gathered.is_empty() {
        put(&gathered, outgoing)?;
    }
    Ok(taken)
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// So many bytes have left.
    pub(super) fn sent(&mut self, count: usize) {
        self.from += count;
        if self.is_empty() {
            // One that was large for a rush is given back when a small one would have done.
            if self.buffer.len() > KEPT && self.to < self.buffer.len() / 8 {
                self.buffer = Vec::new();
            }
            (self.from, self.to) = (0, 0);
        }
    }

    /// At least `size` bytes to write to. Bytes are set once, not for each use.
    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.buffer.len() < self.to + size {
            let len = (self.to + size).next_power_of_two();
            self.buffer.resize(len, 0);
        }
        &mut self.buffer[self.to..]
    }

    fn put(
        &mut self,
        most: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), EncryptError> {
        let count = write(self.room(most))?;
        self.to += count;
        Ok(())
    }
}

fn exhausted(error: EncryptError) -> io::Error {
    io::Error::other(error)
}
