//! The stream below a tunnel: WebSocket frames in and out, with little queued on either side.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::{
    frame::{Decoder, Frame},
    machine::ProtocolError,
    websocket::{self, Item, Opcode, Side},
};

/// Room made for one read: follows what the stream gives, so that a quiet tunnel holds little and a busy one reads much.
const READ_MIN: usize = 16 * 1024;
const READ_MAX: usize = 256 * 1024;
/// Pieces in one vectored write.
const SLICES: usize = 64;
/// Close code 1000, a normal end.
const CLOSE_NORMAL: [u8; 2] = 1000u16.to_be_bytes();

#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    side: Side,
    read_buffer: BytesMut,
    room: usize,
    websocket: websocket::Decoder,
    frames: Decoder,
    /// The pieces of the batch that is leaving; those before `left` are gone.
    batch: Vec<Bytes>,
    left: usize,
    /// The answer to the last ping, to go between two batches.
    pong: Option<Bytes>,
    /// Whether the peer has ended the stream, be it that nobody was told yet that there is something to read.
    has_ended: Option<fn(&S) -> bool>,
    unflushed: bool,
    said_close: bool,
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// So many bytes; their frames are in the list.
    Bytes(usize),
    /// The peer sends nothing more.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, read_buf: Bytes, side: Side) -> Self {
        Self {
            stream,
            side,
            read_buffer: BytesMut::from(read_buf),
            room: READ_MIN,
            websocket: websocket::Decoder::new(side),
            frames: Decoder::new(),
            batch: Vec::new(),
            left: 0,
            pong: None,
            has_ended: None,
            unflushed: false,
            said_close: false,
        }
    }

    pub(super) fn look_for_end_by(&mut self, has_ended: fn(&S) -> bool) {
        self.has_ended = Some(has_ended);
    }

    /// A look past what the runtime knows.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.is_some_and(|has_ended| has_ended(&self.stream))
    }

    /// Decodes bytes that were read before the tunnel began.
    pub(super) fn take_early(&mut self, frames: &mut Vec<Frame>) -> Result<Arrival, ProtocolError> {
        self.decode(frames)
    }

    /// Reads once and appends the frames that are whole, or parts of data frames.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut Vec<Frame>,
    ) -> Poll<io::Result<Result<Arrival, ProtocolError>>> {
        // Half of it may have been filled by the read before; less would not do.
        if self.read_buffer.capacity() < self.room / 2 {
            self.read_buffer.reserve(self.room);
        }
        let free = self.read_buffer.capacity();
        match ready!(pin!(self.stream.read_buf(&mut self.read_buffer)).poll(cx)) {
            Ok(0) => Poll::Ready(Ok(Ok(Arrival::End))),
            Ok(count) => {
                if count > free / 2 {
                    self.room = (self.room * 2).min(READ_MAX);
                } else if count < self.room / 8 {
                    self.room = (self.room / 2).max(READ_MIN);
                }
                Poll::Ready(Ok(self.decode(frames)))
            }
            // A peer that went without a TLS goodbye has ended all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(Ok(Arrival::End))),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads and forgets; resolves at the end of the stream, or when it breaks.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.read_buffer.clear();
            self.read_buffer.reserve(READ_MIN);
            if let Ok(0) | Err(_) = ready!(pin!(self.stream.read_buf(&mut self.read_buffer)).poll(cx)) {
                return Poll::Ready(());
            }
        }
    }

    /// Fills the batch, which must have left, by `fill`; true when there is something to write now.
    pub(super) fn fill(&mut self, fill: impl FnOnce(&mut Vec<Bytes>) -> usize) -> bool {
        debug_assert!(!self.has_batch());
        self.batch.clear();
        self.left = 0;
        let mut header = BytesMut::new();
        if let Some(pong) = self.pong.take() {
            self.control(Opcode::Pong, &pong, &mut header);
        }
        // Its place; the length is known once the rest is there.
        self.batch.push(Bytes::new());
        let len = fill(&mut self.batch);
        if len > 0 {
            websocket::encode_header(self.side, Opcode::Binary, len, &mut header);
        }
        self.batch[0] = header.freeze();
        if self.batch[0].is_empty() {
            self.batch.clear();
        }
        self.has_batch()
    }

    pub(super) fn has_batch(&self) -> bool {
        self.left < self.batch.len()
    }

    /// Writes some of the batch; gives the count.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.batch[self.left..]) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        let mut rest = count;
        while let Some(piece) = self.batch.get_mut(self.left) {
            if piece.len() > rest {
                piece.advance(rest);
                break;
            }
            rest -= piece.len();
            // Let go at once: the session that retains it may be the only other holder.
            *piece = Bytes::new();
            self.left += 1;
        }
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says the WebSocket's own goodbye and ends the stream.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.said_close, true) {
            let mut header = BytesMut::new();
            self.control(Opcode::Close, &CLOSE_NORMAL, &mut header);
            self.batch.push(header.freeze());
        }
        while self.has_batch() {
            ready!(self.poll_write(cx))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn decode(&mut self, frames: &mut Vec<Frame>) -> Result<Arrival, ProtocolError> {
        let piece = self.read_buffer.split();
        let count = piece.len();
        self.websocket.push(piece);
        while let Some(item) = self.websocket.next_item()? {
            match item {
                Item::Payload(bytes) => {
                    self.frames.push(bytes);
                    while let Some(frame) = self.frames.next_frame()? {
                        frames.push(frame);
                    }
                }
                // Only the last one is answered, so that pings cannot pile up answers.
                Item::Ping(bytes) => self.pong = Some(bytes),
                Item::Pong => {}
                Item::Close(_) => return Ok(Arrival::End),
            }
        }
        Ok(Arrival::Bytes(count))
    }

    fn control(&self, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
        websocket::encode_header(self.side, opcode, payload.len(), out);
        // The mask is zero, so that the bytes stand as they are.
        out.extend_from_slice(payload);
    }
}
