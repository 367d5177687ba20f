//! Takes WebSocket frames apart as the bytes come.

use bytes::{Buf, Bytes, BytesMut};

use super::{CONTROL_MAX, MESSAGE_MAX, Opcode, Side, WebSocketError};

/// Something taken out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The next bytes of the carried stream.
    Payload(Bytes),
    /// To be answered by a pong with the same bytes.
    Ping(Bytes),
    Pong,
    /// The peer sends nothing more; its code, if it gave one.
    Close(Option<u16>),
}

/// Takes the byte stream in any pieces. Order of calls: [`push`](Self::push), then [`next_item`](Self::next_item) until
/// it gives `None`.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    piece: BytesMut,
    /// The start of a header, or a control frame, whose rest is to come.
    carry: BytesMut,
    frame: Option<FrameRest>,
    /// Bytes so far of a message in fragments.
    message: Option<u64>,
    failed: Option<WebSocketError>,
}

#[derive(Debug, Clone, Copy)]
struct FrameRest {
    opcode: Opcode,
    remaining: u64,
    key: [u8; 4],
}

impl Decoder {
    /// A decoder at `side`, of what the other side sends.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            piece: BytesMut::new(),
            carry: BytesMut::new(),
            frame: None,
            message: None,
            failed: None,
        }
    }

    pub fn push(&mut self, piece: BytesMut) {
        debug_assert!(self.piece.is_empty(), "next_item runs until None before the next push");
        self.piece = piece;
    }

    /// The next item that is there. After an error every further call gives the same error.
    pub fn next_item(&mut self) -> Result<Option<Item>, WebSocketError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|error| self.failed = Some(*error))
    }

    fn advance(&mut self) -> Result<Option<Item>, WebSocketError> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => {
                    let Some(frame) = self.header()? else { return Ok(None) };
                    *self.frame.insert(frame)
                }
            };
            if frame.opcode == Opcode::Binary {
                if frame.remaining == 0 {
                    self.frame = None;
                    continue;
                }
                return Ok(self.payload(frame).map(Item::Payload));
            }
            if !self.gather(frame.remaining as usize) {
                return Ok(None);
            }
            self.frame = None;
            let mut bytes = self.carry.split();
            unmask(&mut bytes, frame.key);
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Item::Ping(bytes.freeze()),
                Opcode::Close => Item::Close((bytes.len() >= 2).then(|| bytes.get_u16())),
                Opcode::Pong | Opcode::Binary | Opcode::Continuation => Item::Pong,
            }));
        }
    }

    /// As much of the payload as is there.
    fn payload(&mut self, mut frame: FrameRest) -> Option<Bytes> {
        if self.piece.is_empty() {
            return None;
        }
        let len = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(self.piece.len());
        let mut bytes = self.piece.split_to(len);
        unmask(&mut bytes, frame.key);
        frame.key.rotate_left(len % 4);
        frame.remaining -= len as u64;
        self.frame = (frame.remaining > 0).then_some(frame);
        Some(bytes.freeze())
    }

    /// The next header, once it is there whole. Data frames come out as binary, whether first or continued.
    fn header(&mut self) -> Result<Option<FrameRest>, WebSocketError> {
        if !self.gather(2) {
            return Ok(None);
        }
        let (first, second) = (self.carry[0], self.carry[1]);
        let (fin, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(WebSocketError::Reserved(first & 0x70));
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => return Err(WebSocketError::Opcode(other)),
        };
        match (self.side, masked) {
            (Side::Server, false) => return Err(WebSocketError::NotMasked),
            (Side::Client, true) => return Err(WebSocketError::Masked),
            _ => {}
        }
        let length_len = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if !self.gather(2 + length_len + if masked { 4 } else { 0 }) {
            return Ok(None);
        }
        let mut rest = &self.carry[2..];
        let (remaining, shortest) = match length_len {
            2 => (u64::from(rest.get_u16()), 126),
            8 => (rest.get_u64(), 0x1_0000),
            _ => (u64::from(second & 0x7f), 0),
        };
        let key = if masked { rest.get_u32().to_be_bytes() } else { [0; 4] };
        self.carry.clear();
        if remaining < shortest {
            return Err(WebSocketError::LengthForm(remaining));
        }
        let opcode = self.check(opcode, fin, remaining)?;
        Ok(Some(FrameRest { opcode, remaining, key }))
    }

    fn check(&mut self, opcode: Opcode, fin: bool, len: u64) -> Result<Opcode, WebSocketError> {
        let before = match (opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => {
                return Err(WebSocketError::ControlFragmented);
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if len > CONTROL_MAX as u64 => {
                return Err(WebSocketError::ControlTooLong(len));
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(opcode),
            (Opcode::Continuation, None) => return Err(WebSocketError::NothingToContinue),
            (Opcode::Binary, Some(_)) => return Err(WebSocketError::MessageInside),
            (_, before) => before.unwrap_or(0),
        };
        let message = before.saturating_add(len);
        if message > MESSAGE_MAX {
            return Err(WebSocketError::TooLong);
        }
        self.message = (!fin).then_some(message);
        Ok(Opcode::Binary)
    }

    /// Moves bytes from the piece until `carry` has `want`; false when the piece ends first.
    fn gather(&mut self, want: usize) -> bool {
        let missing = want.saturating_sub(self.carry.len()).min(self.piece.len());
        self.carry.extend_from_slice(&self.piece[..missing]);
        self.piece.advance(missing);
        self.carry.len() >= want
    }
}

fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    if key == [0; 4] {
        return;
    }
    for chunk in bytes.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}
