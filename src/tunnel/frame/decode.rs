//! Bytes to frames, strictly: whatever is not exactly a frame is an error that names the frame and the field.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CALLER_MAX, CloseReason, DATA_MAX, DETAIL_MAX, Frame, HEADER_LEN, Hello, OpenRequest, OpenResult,
    ResetReason, ResumePoint, ResumeResult, SessionKind, codes::FrameType,
};

/// Longest payload of a frame that is not data; the longest legal one is an open of some 350 bytes.
const SMALL_MAX: usize = 1024;
/// Header plus offset: what must be there before the bytes of a data frame can be handed out.
const DATA_HEAD: usize = HEADER_LEN + 8;

/// Why bytes are not a frame. Each one ends the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    #[error("{frame}: flags are {flags:#04x}, must be 0")]
    Flags { frame: &'static str, flags: u8 },
    #[error("{frame}: reserved bytes are {reserved:#06x}, must be 0")]
    Reserved { frame: &'static str, reserved: u16 },
    #[error("{frame}: payload of {length} bytes, at most {max} allowed")]
    Oversize { frame: &'static str, length: u32, max: u32 },
    #[error("{frame}: session must not be 0")]
    SessionMissing { frame: &'static str },
    #[error("{frame}: session is {session}, must be 0")]
    SessionUnexpected { frame: &'static str, session: u64 },
    #[error("{frame}: payload ends inside field {field}")]
    Short { frame: &'static str, field: &'static str },
    #[error("{frame}: {extra} bytes after the last field")]
    Trailing { frame: &'static str, extra: usize },
    #[error("{frame}: field {field} has unknown code {code}")]
    UnknownCode { frame: &'static str, field: &'static str, code: u8 },
    #[error("{frame}: field {field} is not utf-8")]
    Utf8 { frame: &'static str, field: &'static str },
    #[error("{frame}: field {field} has {length} bytes, at most {max} allowed")]
    TooLong { frame: &'static str, field: &'static str, length: usize, max: usize },
}

/// Takes the byte stream in any pieces and gives back frames.
///
/// Order of calls: [`push`](Self::push) a piece, then [`next_frame`](Self::next_frame) until it gives `None`. The bytes of
/// a data frame are slices of the piece, never copied; a data frame that is only partly there is handed out in parts, each
/// with its own offset, so that nothing waits and nothing is joined.
#[derive(Debug, Default)]
pub struct Decoder {
    piece: Bytes,
    /// The start of a frame whose rest is in pieces to come; never longer than a small frame.
    carry: BytesMut,
    data: Option<DataRest>,
    failed: Option<DecodeError>,
}

#[derive(Debug)]
struct DataRest {
    session: u64,
    offset: u64,
    remaining: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece of the stream. The piece before must have been taken whole by [`next_frame`](Self::next_frame).
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "next_frame runs until None before the next push");
        self.piece = piece;
    }

    /// The next frame that is there. After an error every further call gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn advance(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            if let Some(rest) = &mut self.data {
                let len = self.piece.len().min(rest.remaining);
                if len == 0 && rest.remaining > 0 {
                    return Ok(None);
                }
                let frame = Frame::Data {
                    session: rest.session,
                    offset: rest.offset,
                    bytes: self.piece.split_to(len),
                };
                rest.offset = rest.offset.wrapping_add(len as u64);
                rest.remaining -= len;
                if rest.remaining == 0 {
                    self.data = None;
                }
                return Ok(Some(frame));
            }
            if !self.gather(HEADER_LEN) {
                return Ok(None);
            }
            let head = Head::parse(&self.carry)?;
            let whole = if head.kind == FrameType::Data { DATA_HEAD } else { HEADER_LEN + head.length };
            if !self.gather(whole) {
                return Ok(None);
            }
            let mut payload = &self.carry[HEADER_LEN..];
            if head.kind == FrameType::Data {
                let offset = payload.get_u64();
                self.data = Some(DataRest { session: head.session, offset, remaining: head.length - 8 });
                self.carry.clear();
                continue;
            }
            let frame = parse(&head, payload)?;
            self.carry.clear();
            return Ok(Some(frame));
        }
    }

    /// Moves bytes from the piece until `carry` has `want`; false when the piece ends first.
    fn gather(&mut self, want: usize) -> bool {
        let missing = want.saturating_sub(self.carry.len()).min(self.piece.len());
        self.carry.extend_from_slice(&self.piece.split_to(missing));
        self.carry.len() >= want
    }
}

struct Head {
    kind: FrameType,
    length: usize,
    session: u64,
}

impl Head {
    fn parse(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let code = bytes.get_u8();
        let kind = FrameType::from_code(code).ok_or(DecodeError::UnknownType(code))?;
        let frame = kind.as_str();
        let (flags, reserved, length, session) =
            (bytes.get_u8(), bytes.get_u16(), bytes.get_u32(), bytes.get_u64());
        if flags != 0 {
            return Err(DecodeError::Flags { frame, flags });
        }
        if reserved != 0 {
            return Err(DecodeError::Reserved { frame, reserved });
        }
        let max = if kind == FrameType::Data { DATA_MAX + 8 } else { SMALL_MAX } as u32;
        if length > max {
            return Err(DecodeError::Oversize { frame, length, max });
        }
        match (of_tunnel(kind), session) {
            (true, 1..) => return Err(DecodeError::SessionUnexpected { frame, session }),
            (false, 0) => return Err(DecodeError::SessionMissing { frame }),
            _ => {}
        }
        if kind == FrameType::Data && length <= 8 {
            // An empty data frame would be work without progress.
            return Err(DecodeError::Short { frame, field: "bytes" });
        }
        Ok(Self { kind, length: length as usize, session })
    }
}

fn of_tunnel(kind: FrameType) -> bool {
    use FrameType as T;
    matches!(kind, T::Hello | T::Ping | T::Pong | T::Drain | T::Close | T::Forsaken | T::Settled)
}

fn parse(head: &Head, payload: &[u8]) -> Result<Frame, DecodeError> {
    let session = head.session;
    let mut fields = Fields { frame: head.kind.as_str(), rest: payload };
    let f = &mut fields;
    let frame = match head.kind {
        FrameType::Hello => Frame::Hello(Hello {
            version_min: f.u16("version_min")?,
            version_max: f.u16("version_max")?,
            features: f.u64("features")?,
            boot: f.u64("boot")?,
            epoch: f.u64("epoch")?,
            slot: f.u16("slot")?,
            window: f.u32("window")?,
            max_frame: f.u32("max_frame")?,
            place: f.u64("place")?,
        }),
        FrameType::Open => {
            let kind = f.code("kind", SessionKind::from_code)?;
            let deadline = Duration::from_millis(f.u32("deadline")?.into());
            let min_revision = f.u64("min_revision")?;
            let trace = f.array("trace")?;
            let name = f.short_text("name", usize::from(u8::MAX))?;
            let caller = f.short_text("caller", CALLER_MAX)?;
            Frame::Open {
                session,
                request: OpenRequest { kind, name, deadline, min_revision, trace, caller },
            }
        }
        FrameType::OpenAck => Frame::OpenAck {
            session,
            result: f.code("result", OpenResult::from_code)?,
            window: f.u32("window")?,
            detail: f.detail()?,
        },
        // The decoder hands out data in slices of the stream; a whole one in hand is copied.
        FrameType::Data => Frame::Data {
            session,
            offset: f.u64("offset")?,
            bytes: Bytes::copy_from_slice(std::mem::take(&mut f.rest)),
        },
        FrameType::Credit => {
            Frame::Credit { session, consumed: f.u64("consumed")?, window: f.u32("window")? }
        }
        FrameType::Fin => Frame::Fin { session, offset: f.u64("offset")? },
        FrameType::Reset => {
            Frame::Reset { session, reason: f.code("reason", ResetReason::from_code)?, detail: f.detail()? }
        }
        FrameType::Ping => Frame::Ping { nonce: f.u64("nonce")? },
        FrameType::Pong => Frame::Pong { nonce: f.u64("nonce")? },
        FrameType::Drain => Frame::Drain { deadline_ms: f.u32("deadline")?, detail: f.detail()? },
        FrameType::Close => {
            Frame::Close { reason: f.code("reason", CloseReason::from_code)?, detail: f.detail()? }
        }
        FrameType::Resume => Frame::Resume { session, point: f.point()? },
        FrameType::ResumeAck => Frame::ResumeAck {
            session,
            result: f.code("result", ResumeResult::from_code)?,
            point: f.point()?,
        },
        FrameType::Forsaken => Frame::Forsaken { epoch: f.u64("epoch")? },
        FrameType::Settled => Frame::Settled { epoch: f.u64("epoch")? },
    };
    match fields.rest.len() {
        0 => Ok(frame),
        extra => Err(DecodeError::Trailing { frame: fields.frame, extra }),
    }
}

/// Reads the fields of one payload and knows whose they are.
struct Fields<'a> {
    frame: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Short { frame: self.frame, field });
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(field, N)?);
        Ok(out)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.bytes(field, 1)?.get_u8())
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(self.bytes(field, 2)?.get_u16())
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(self.bytes(field, 4)?.get_u32())
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(self.bytes(field, 8)?.get_u64())
    }

    fn code<T>(&mut self, field: &'static str, from: fn(u8) -> Option<T>) -> Result<T, DecodeError> {
        let code = self.u8(field)?;
        from(code).ok_or(DecodeError::UnknownCode { frame: self.frame, field, code })
    }

    fn point(&mut self) -> Result<ResumePoint, DecodeError> {
        Ok(ResumePoint {
            received: self.u64("received")?,
            consumed: self.u64("consumed")?,
            window: self.u32("window")?,
            finished: self.code("finished", |code| (code < 2).then_some(code == 1))?,
        })
    }

    fn short_text(&mut self, field: &'static str, max: usize) -> Result<String, DecodeError> {
        let length = usize::from(self.u8(field)?);
        self.text(field, length, max)
    }

    fn detail(&mut self) -> Result<String, DecodeError> {
        let length = usize::from(self.u16("detail")?);
        self.text("detail", length, DETAIL_MAX)
    }

    fn text(&mut self, field: &'static str, length: usize, max: usize) -> Result<String, DecodeError> {
        if length > max {
            return Err(DecodeError::TooLong { frame: self.frame, field, length, max });
        }
        let bytes = self.bytes(field, length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::Utf8 { frame: self.frame, field }),
        }
    }
}
