//! One caller of [`Answers`](super::Answers): each request and each answer is one that only its seed and its number explain.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::{Bytes, PATIENCE, bytes::mix};
use crate::caller;

/// Bytes of a request and of an answer: seed, sequence number, and what follows from the two.
pub(super) const MESSAGE: usize = 64;
const HEAD: usize = 16;

/// A session that is open.
#[derive(Debug)]
pub struct Conversation {
    socket: TcpStream,
    seed: u64,
    sequence: u64,
}

/// Why it did not go on.
#[derive(Debug)]
pub enum Broken {
    /// The session ended, or nothing came for long.
    Lost(io::Error),
    /// Something else came than what belongs there.
    Wrong(String),
}

impl Conversation {
    /// Connects, and has its first answer.
    pub fn open(address: SocketAddr, seed: u64) -> Result<Self, Broken> {
        let mut conversation = Self::connect(address, seed)?;
        conversation.ask()?;
        Ok(conversation)
    }

    /// Connects; nothing tells yet whether a target will be reached.
    pub fn connect(address: SocketAddr, seed: u64) -> io::Result<Self> {
        let socket = caller::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, seed, sequence: 0 })
    }

    /// Where the caller stands, as the gateway sees it.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Which request is next.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// One request and its answer.
    pub fn ask(&mut self) -> Result<(), Broken> {
        self.socket.write_all(&request(self.seed, self.sequence))?;
        let mut got = [0; MESSAGE];
        self.socket.read_exact(&mut got)?;
        if got != answer(self.seed, self.sequence) {
            let (other, number) = (word(&got, 0), word(&got, 8));
            return Err(Broken::Wrong(format!("answer {number} of the session with seed {other} came")));
        }
        self.sequence += 1;
        Ok(())
    }

    /// Half-closes, and must hear nothing more than the target's end.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.socket.shutdown(Shutdown::Write)?;
        match self.socket.read(&mut [0])? {
            0 => Ok(()),
            1.. => Err(Broken::Wrong("a byte came after the last answer".to_owned())),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "{error}"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

pub(super) fn request(seed: u64, sequence: u64) -> [u8; MESSAGE] {
    message(seed, sequence, Bytes::new(mix(seed)))
}

pub(super) fn answer(seed: u64, sequence: u64) -> [u8; MESSAGE] {
    message(seed, sequence, Bytes::new(mix(!seed)))
}

/// A number of a message's head.
pub(super) fn word(message: &[u8; MESSAGE], at: usize) -> u64 {
    u64::from_be_bytes(message[at..at + 8].try_into().unwrap_or_default())
}

fn message(seed: u64, sequence: u64, rest: Bytes) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&seed.to_be_bytes());
    message[8..HEAD].copy_from_slice(&sequence.to_be_bytes());
    rest.fill(sequence * (MESSAGE - HEAD) as u64, &mut message[HEAD..]);
    message
}
