//! The WebSocket wrapping (RFC 6455), as much of it as a tunnel needs: binary messages, ping, pong, close.
//!
//! What is in the messages is one byte stream; where a message ends means nothing, so that payload is handed out as it
//! comes and never gathered. Inside TLS masking hides nothing from anyone: the client sets the mask bit, as proxies
//! expect, with a key of zero, which leaves the bytes as they are. A peer's key may be anything and is undone.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, BytesMut};
use hyper::header::HeaderValue;

use crate::machine::Role;

mod decode;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Item};

/// Longest message accepted, bytes.
pub const MESSAGE_MAX: u64 = 1 << 20;
/// Longest payload of a ping, pong or close, bytes.
pub const CONTROL_MAX: usize = 125;
/// Longest frame header, bytes.
pub const HEADER_MAX: usize = 14;

/// Which end encodes or decodes: what a client sends is masked, what a server sends is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl From<Role> for Side {
    fn from(role: Role) -> Self {
        match role {
            Role::Gateway => Self::Server,
            Role::Agent => Self::Client,
        }
    }
}

/// What kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Why bytes are not WebSocket frames that a tunnel may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    #[error("opcode {0} is not binary, continuation, ping, pong or close")]
    Opcode(u8),
    #[error("reserved bits {0:#04x} are set")]
    Reserved(u8),
    #[error("a client's frame is not masked")]
    NotMasked,
    #[error("a server's frame is masked")]
    Masked,
    #[error("message of more than {MESSAGE_MAX} bytes")]
    TooLong,
    #[error("length {0} is not in its shortest form")]
    LengthForm(u64),
    #[error("control frame of {0} bytes, at most {CONTROL_MAX} allowed")]
    ControlTooLong(u64),
    #[error("control frame in fragments")]
    ControlFragmented,
    #[error("continuation of no message")]
    NothingToContinue,
    #[error("new message inside a fragmented one")]
    MessageInside,
}

/// Appends the header of an unfragmented frame whose `len` bytes of payload follow.
pub fn encode_header(side: Side, opcode: Opcode, len: usize, out: &mut BytesMut) {
    let mask_bit = if side == Side::Client { 0x80 } else { 0 };
    out.put_u8(0x80 | opcode as u8);
    match len {
        0..=125 => out.put_u8(mask_bit | len as u8),
        126..=0xffff => {
            out.put_u8(mask_bit | 126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(mask_bit | 127);
            out.put_u64(len as u64);
        }
    }
    if side == Side::Client {
        out.put_u32(0);
    }
}

/// The `sec-websocket-accept` that answers a `sec-websocket-key`.
pub fn accept_key(key: &[u8]) -> HeaderValue {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    HeaderValue::try_from(BASE64_STANDARD.encode(context.finish())).expect("base64 is a header value")
}
