//! What a caller of the bench and its target say to each other.
//!
//! A session starts with one request of fixed size. Bulk travels in blocks that are numbered and marked at the end, so
//! that nothing depends on a half-close, and so that a lost, repeated or swapped piece fails the measurement.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until},
};

pub(crate) const REQUEST: usize = 13;
/// The target's word that it has read the request; keeps the opening of sessions out of what bulk measures.
pub(crate) const READY: u8 = b'r';
/// The caller's word that it wants blocks to be sent from here on.
pub(crate) const GO: u8 = b'g';

const BLOCK: usize = 64 << 10;
/// Number of the block and whether it is the last one.
const BLOCK_HEAD: usize = 9;
/// Every block's head is checked, the body of one in this many: reading all of it would take time from what is measured.
const BODY_EVERY: u64 = 16;
/// Blocks that fit into the receiver's buffer.
const WINDOW: usize = 8;

/// What the rest of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The target sends back what it gets.
    Echo,
    /// READY; the caller sends blocks; the target answers how many bytes it got.
    Take,
    /// READY, GO; the target sends blocks for so long, at most `rate` bytes a second (0: as many as go).
    Give { millis: u32, rate: u64 },
}

impl Request {
    pub(crate) fn encode(self) -> [u8; REQUEST] {
        let (kind, millis, rate) = match self {
            Self::Echo => (b'e', 0, 0),
            Self::Take => (b't', 0, 0),
            Self::Give { millis, rate } => (b'g', millis, rate),
        };
        let mut bytes = [kind; REQUEST];
        bytes[1..5].copy_from_slice(&millis.to_be_bytes());
        bytes[5..].copy_from_slice(&rate.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; REQUEST]) -> io::Result<Self> {
        let [kind, a, b, c, d, rate @ ..] = bytes;
        match kind {
            b'e' => Ok(Self::Echo),
            b't' => Ok(Self::Take),
            b'g' => {
                Ok(Self::Give { millis: u32::from_be_bytes([a, b, c, d]), rate: u64::from_be_bytes(rate) })
            }
            other => Err(damage(format!("a request starts with {other:#04x}"))),
        }
    }
}

/// Sends blocks for `time`, at most `rate` bytes a second (0: as many as go), and says how many bytes that were.
pub(crate) async fn send_blocks(socket: &mut TcpStream, time: Duration, rate: u64) -> io::Result<u64> {
    let mut block = body();
    let start = Instant::now();
    let end = start + time;
    for number in 0_u64.. {
        if rate > 0 {
            let due = Duration::from_secs_f64((number * BLOCK as u64) as f64 / rate as f64);
            sleep_until((start + due).min(end)).await;
        }
        let last = Instant::now() >= end;
        block[..BLOCK_HEAD].copy_from_slice(&head(number, last));
        socket.write_all(&block).await?;
        if last {
            return Ok((number + 1) * BLOCK as u64);
        }
    }
    unreachable!("blocks are numbered with 64 bits")
}

/// Receives blocks up to the last one, checks them, and says how many bytes that were.
pub(crate) async fn receive_blocks(socket: &mut TcpStream) -> io::Result<u64> {
    let mut checker = Checker { body: body(), blocks: 0, ended: false };
    let mut window = vec![0; WINDOW * BLOCK];
    let (mut filled, mut checked) = (0, 0);
    while !checker.ended {
        let read = socket.read(&mut window[filled..]).await?;
        if read == 0 {
            return Err(damage(format!(
                "the stream ends after {} blocks, before the last one",
                checker.blocks
            )));
        }
        filled += read;
        while filled - checked >= BLOCK {
            checker.check(&window[checked..checked + BLOCK])?;
            checked += BLOCK;
        }
        if checker.ended && checked < filled {
            return Err(damage(format!("{} bytes come after the last block", filled - checked)));
        }
        if filled == window.len() {
            (filled, checked) = (0, 0);
        }
    }
    Ok(checker.blocks * BLOCK as u64)
}

struct Checker {
    body: Vec<u8>,
    blocks: u64,
    ended: bool,
}

impl Checker {
    fn check(&mut self, block: &[u8]) -> io::Result<()> {
        let number = self.blocks;
        let ended = block.starts_with(&head(number, true));
        if self.ended || !(ended || block.starts_with(&head(number, false))) {
            return Err(damage(format!("block {number} is not what was sent")));
        }
        if number.is_multiple_of(BODY_EVERY) && block[BLOCK_HEAD..] != self.body[BLOCK_HEAD..] {
            return Err(damage(format!("the body of block {number} is not what was sent")));
        }
        self.blocks += 1;
        self.ended = ended;
        Ok(())
    }
}

fn head(number: u64, last: bool) -> [u8; BLOCK_HEAD] {
    let mut head = [u8::from(last); BLOCK_HEAD];
    head[..8].copy_from_slice(&number.to_be_bytes());
    head
}

/// Bytes that no peer can compress.
fn body() -> Vec<u8> {
    let mut state = 1_u64;
    let mut body = Vec::with_capacity(BLOCK);
    while body.len() < BLOCK {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend(state.to_le_bytes());
    }
    body
}

pub(crate) fn damage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        for request in [Request::Echo, Request::Take, Request::Give { millis: 3_000_000, rate: 1 << 40 }] {
            assert_eq!(Request::decode(request.encode()).unwrap(), request);
        }
        assert!(Request::decode([0; REQUEST]).is_err());
    }

    #[test]
    fn blocks_out_of_order_or_damaged_are_refused() {
        let block = |number, last| {
            let mut block = body();
            block[..BLOCK_HEAD].copy_from_slice(&head(number, last));
            block
        };
        let new = || Checker { body: body(), blocks: 0, ended: false };

        let mut good = new();
        good.check(&block(0, false)).unwrap();
        good.check(&block(1, true)).unwrap();
        assert_eq!((good.blocks, good.ended), (2, true));
        assert!(good.check(&block(2, false)).is_err(), "nothing follows the last block");

        let mut lost = new();
        lost.check(&block(0, false)).unwrap();
        assert!(lost.check(&block(2, false)).is_err());

        let mut damaged = block(0, false);
        damaged[BLOCK / 2] ^= 1;
        assert!(new().check(&damaged).is_err());
    }

    #[tokio::test]
    async fn what_is_sent_is_counted_whole() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let both =
            tokio::join!(send_blocks(&mut near, Duration::from_millis(50), 0), receive_blocks(&mut far));
        assert_eq!(both.0.unwrap(), both.1.unwrap());
    }
}
