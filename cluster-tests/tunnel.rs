//! A tunnel spoken by hand: what an agent says to a gateway, byte by byte, so that it can also be said wrong.
//!
//! Deliberately not the product's code: the layout of frames is written down here a second time.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::tls::{Credentials, TlsStream};

const HELLO: u8 = 1;
const OPEN: u8 = 2;
const OPEN_ACK: u8 = 3;
const DATA: u8 = 4;
const FIN: u8 = 6;
const PING: u8 = 8;
const PONG: u8 = 9;
const CLOSE: u8 = 11;
const ECHO: u8 = 2;
const RESULT_OK: u8 = 0;
const RESULT_UNKNOWN: u8 = 7;
const HEAD: usize = 16;
const WINDOW: u32 = 256 << 10;

/// One tunnel, from the agent's side.
#[derive(Debug)]
pub struct Tunnel {
    stream: TlsStream,
    wire: Vec<u8>,
    frames: Vec<u8>,
}

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub session: u64,
    pub payload: Vec<u8>,
}

/// The gateway's last frame: why it closed the tunnel.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    pub reason: u8,
    pub detail: String,
}

/// The bytes of a frame, whatever its type and payload.
pub fn frame(kind: u8, session: u64, payload: &[u8]) -> Vec<u8> {
    frame_of_length(kind, session, payload.len() as u32, payload)
}

/// As [`frame`], with a length that may be a lie.
pub fn frame_of_length(kind: u8, session: u64, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(session.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The bytes of a WebSocket frame as a client sends it: masked, with a key of zero.
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

impl Tunnel {
    /// TLS and the upgrade; nothing is said yet.
    pub fn upgrade(gateway: SocketAddr, credentials: &Credentials) -> io::Result<Self> {
        let mut stream = credentials.connect(gateway, &gateway.ip().to_string(), "http/1.1")?;
        stream.write_all(
            b"GET /tunnel HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
        }
        Ok(Self { stream, wire: Vec::new(), frames: Vec::new() })
    }

    /// Makes a tunnel that the gateway has verified: hello, and the echo that it asks for.
    pub fn connect(gateway: SocketAddr, credentials: &Credentials, hello: Hello) -> io::Result<Self> {
        let mut tunnel = Self::upgrade(gateway, credentials)?;
        tunnel.say(&hello.frame())?;
        loop {
            let frame = tunnel.next_frame()?;
            tunnel.behave(&frame)?;
            if frame.kind == FIN {
                return Ok(tunnel);
            }
        }
    }

    /// Sends frames, or anything else, in one binary message.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.say_raw(&message(2, bytes))
    }

    /// Sends bytes below the WebSocket.
    pub fn say_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Checks that the tunnel lives: the answer to a ping of ours, through whatever else the gateway says meanwhile.
    pub fn ping(&mut self, nonce: u64) -> io::Result<()> {
        self.say(&frame(PING, 0, &nonce.to_be_bytes()))?;
        loop {
            let frame = self.next_frame()?;
            if frame.kind == PONG && frame.payload == nonce.to_be_bytes() {
                return Ok(());
            }
            self.behave(&frame)?;
        }
    }

    /// Reads until the gateway closes the tunnel, and sees the stream end after it.
    pub fn closed(self) -> io::Result<Closed> {
        self.closed_while_answering(|_| false)
    }

    /// As [`Tunnel::closed`], and meanwhile answers, as an agent must, the kinds of frames that `answers` names.
    pub fn closed_while_answering(mut self, answers: impl Fn(u8) -> bool) -> io::Result<Closed> {
        let closed = loop {
            let frame = self.next_frame()?;
            if frame.kind == CLOSE {
                break Closed {
                    reason: frame.payload[0],
                    detail: String::from_utf8_lossy(&frame.payload[3..]).into_owned(),
                };
            }
            if answers(frame.kind) {
                self.behave(&frame)?;
            }
        };
        match io::copy(&mut self.stream, &mut io::sink()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // An end without goodbyes is an end.
            _ => Ok(closed),
        }
    }

    /// Answers as an agent must.
    fn behave(&mut self, got: &Frame) -> io::Result<()> {
        let (kind, answer) = match got.kind {
            OPEN => {
                let result = if got.payload[0] == ECHO { RESULT_OK } else { RESULT_UNKNOWN };
                let mut ack = vec![result];
                ack.extend(WINDOW.to_be_bytes());
                ack.extend([0, 0]);
                (OPEN_ACK, ack)
            }
            DATA | FIN => (got.kind, got.payload.clone()),
            PING => (PONG, got.payload.clone()),
            CLOSE => return Err(io::Error::other(format!("closed by the gateway: {got:?}"))),
            _ => return Ok(()),
        };
        self.say(&frame(kind, got.session, &answer))
    }

    fn next_frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(frame);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.wire.extend(&buffer[..count]),
            }
            while self.take_message() {}
        }
    }

    /// Moves the payload of a WebSocket frame over, once all of it is there.
    fn take_message(&mut self) -> bool {
        let (start, length) = match self.wire[..] {
            [_, length @ 0..=125, ..] => (2, usize::from(length)),
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, 127, 0, 0, 0, 0, a, b, c, d, ..] => (10, u32::from_be_bytes([a, b, c, d]) as usize),
            _ => return false,
        };
        if self.wire.len() < start + length {
            return false;
        }
        let is_data = matches!(self.wire[0] & 0x0F, 0 | 2);
        let payload = self.wire.drain(..start + length).skip(start);
        if is_data {
            self.frames.extend(payload);
        }
        true
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head = self.frames.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let session = u64::from_be_bytes(*head.last_chunk()?);
        let (kind, whole) = (head[0], HEAD + length);
        (self.frames.len() >= whole).then(|| {
            let payload = self.frames.drain(..whole).skip(HEAD).collect();
            Frame { kind, session, payload }
        })
    }
}

/// Who says hello.
#[derive(Debug, Clone, Copy)]
pub struct Hello {
    /// Of one run of an agent.
    pub boot: u64,
    /// Counts the tunnels of one boot.
    pub epoch: u64,
    pub slot: u16,
}

impl Hello {
    pub fn frame(self) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend([0, 1, 0, 1]);
        payload.extend(0_u64.to_be_bytes());
        payload.extend(self.boot.to_be_bytes());
        payload.extend(self.epoch.to_be_bytes());
        payload.extend(self.slot.to_be_bytes());
        payload.extend(WINDOW.to_be_bytes());
        payload.extend((64_u32 << 10).to_be_bytes());
        // Agents leave out where they are.
        payload.extend(0_u64.to_be_bytes());
        frame(HELLO, 0, &payload)
    }
}
