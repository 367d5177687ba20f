//! What a caller says before its target is reached.

use std::io;

use bytes::Bytes;
use tokio::net::TcpStream;

/// Bytes of a caller that are kept until its target is reached; the rest waits in its socket.
pub(super) const EARLY_MAX: usize = 64 << 10;
const READ_MAX: usize = 16 << 10;

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
    pub(super) async fn more(&mut self, caller: &TcpStream) -> io::Result<Bytes> {
        loop {
            let room = EARLY_MAX - self.length;
            if self.ended || room == 0 {
                std::future::pending::<()>().await;
            }
            caller.readable().await?;
            if let Some(bytes) = self.take(caller, room.min(READ_MAX))? {
                return Ok(bytes);
            }
        }
    }

    fn take(&mut self, caller: &TcpStream, room: usize) -> io::Result<Option<Bytes>> {
        let mut buffer = Vec::with_capacity(room);
        match caller.try_read_buf(&mut buffer) {
            Ok(0) => {
                self.ended = true;
                Ok(None)
            }
            Ok(read) => {
                self.length += read;
                buffer.shrink_to_fit();
                let bytes = Bytes::from(buffer);
                self.kept.push(bytes.clone());
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
