//! What a caller says before its target is reached.

use std::io::{self, Read};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};
use warren_tunnel::Incoming;

/// Bytes of a caller that are kept until its target is reached; the rest waits in its socket.
pub(super) const EARLY_MAX: usize = 64 << 10;
/// Room for one read: a first word is short, and who says more is given more.
const READ_MIN: usize = 1 << 10;
const READ_MAX: usize = 16 << 10;

/// Who wants a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller<'a> {
    Socket(&'a TcpStream),
    /// A caller of another gateway. What it says waits in its session until its target is reached.
    Guest(&'a Incoming),
}

#[derive(Debug, Default)]
pub(super) struct Early {
    kept: Vec<Bytes>,
    length: usize,
    /// The caller will say nothing more.
    ended: bool,
}

impl Early {
    /// Everything said so far.
    pub(super) fn kept(&self) -> &[Bytes] {
        &self.kept
    }

    /// Waits for more from the caller; for ever once it has ended or enough is kept. May be dropped at any time
    /// without losing a byte. An error means that the caller is gone.
    pub(super) async fn more(&mut self, caller: Caller<'_>) -> io::Result<Bytes> {
        match caller {
            Caller::Socket(socket) => self.more_of(socket).await,
            Caller::Guest(incoming) => {
                incoming.cancelled().await;
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other gateway gave it up"))
            }
        }
    }

    async fn more_of(&mut self, caller: &TcpStream) -> io::Result<Bytes> {
        loop {
            let room = EARLY_MAX - self.length;
            if self.ended || room == 0 {
                std::future::pending::<()>().await;
            }
            caller.readable().await?;
            let at_once = if self.kept.is_empty() { READ_MIN } else { READ_MAX };
            if let Some(bytes) = self.take(caller, room.min(at_once))? {
                return Ok(bytes);
            }
        }
    }

    fn take(&mut self, caller: &TcpStream, room: usize) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; room];
        match read(caller, &mut buffer) {
            Ok(0) => {
                self.ended = true;
                Ok(None)
            }
            Ok(count) => {
                self.length += count;
                let bytes = Bytes::copy_from_slice(&buffer[..count]);
                self.kept.push(bytes.clone());
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads what is there. A read that is not filled has emptied the socket: whoever reads next waits until it is told of
/// more, instead of asking the system for what is not there.
fn read(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut all = None;
    let outcome = socket.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(socket)).read(buffer)?;
        if 0 < count && count < buffer.len() {
            all = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    all.map_or(outcome, Ok)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt, time::timeout};

    use super::*;
    use crate::testing::caller;

    const SOON: Duration = Duration::from_secs(5);

    async fn hear(early: &mut Early, accepted: &TcpStream, expected: usize) {
        let mut heard = 0;
        while heard < expected {
            heard += timeout(SOON, early.more(Caller::Socket(accepted)))
                .await
                .expect("no word came")
                .unwrap()
                .len();
        }
        assert_eq!(heard, expected);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn words_of_any_length_are_heard_one_after_the_other() {
        for first in [1, READ_MIN - 1, READ_MIN, READ_MIN + 1, 2 * READ_MIN, READ_MAX + READ_MIN] {
            let (mut near, accepted) = caller().await;
            let mut early = Early::default();
            for length in [first, 1, READ_MAX, READ_MAX - 1, 7] {
                near.write_all(&vec![0; length]).await.unwrap();
                hear(&mut early, &accepted, length).await;
            }
        }
    }

    /// Words come while the ones before them are being read, so that a word that is forgotten would show.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_word_is_missed_between_a_read_and_the_next_wait() {
        for _ in 0..50 {
            let (mut near, accepted) = caller().await;
            let talk = tokio::spawn(async move {
                for _ in 0..400 {
                    near.write_all(b"word").await.unwrap();
                }
                near.write_all(b"end").await.unwrap();
                near
            });
            hear(&mut Early::default(), &accepted, 400 * 4 + 3).await;
            drop(talk.await.unwrap());
        }
    }

    #[tokio::test]
    async fn whoever_reads_next_hears_of_more_and_of_the_end() {
        let (mut near, accepted) = caller().await;
        near.write_all(b"first").await.unwrap();
        hear(&mut Early::default(), &accepted, 5).await;
        for (said, expected) in [(&b"more"[..], 4), (&b""[..], 0)] {
            near.write_all(said).await.unwrap();
            if said.is_empty() {
                near.shutdown().await.unwrap();
            }
            let mut buffer = [0; 16];
            let read = async {
                loop {
                    accepted.readable().await.unwrap();
                    match accepted.try_read(&mut buffer) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        outcome => return outcome.unwrap(),
                    }
                }
            };
            assert_eq!(timeout(SOON, read).await.expect("nothing was heard"), expected);
        }
    }
}
