//! TLS over TCP in large steps.
//!
//! rustls does the cryptography and the protocol; this module moves the bytes, by rustls's unbuffered interface. The
//! buffered one reads at most one record from the socket at a time, in two calls, and hands out plaintext in pieces of
//! 16 KiB; a tunnel under load is bound by exactly these calls and by the wakeups that they cause at the other end. Here
//! one read takes what the socket has, up to [`READ_MAX`], and one write sends a whole batch of records.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use rustls::{
    ClientConfig, CommonState, ServerConfig, client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

mod records;
#[cfg(test)]
mod tests;

use records::{Outgoing, Records, Step};

/// Most ciphertext taken from the socket at once, bytes.
const READ_MAX: usize = 256 * 1024;
/// Least room for one read: a whole record.
const READ_MIN: usize = 17 * 1024;

/// A TLS connection, at either end.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    records: Records,
    /// Ciphertext that came and is not deciphered yet; less than a record when nothing can be done with it.
    incoming: BytesMut,
    /// Plaintext for which a reader had no room.
    plain: BytesMut,
    outgoing: Outgoing,
    /// Room for the next read.
    room: usize,
    /// The peer has said that nothing follows.
    ended: bool,
    said_close: bool,
}

impl TlsStream {
    /// Shakes hands as a client. Has no deadline of its own.
    pub async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        socket: TcpStream,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(broken)?;
        Self::shake_hands(Records::Client(session), socket).await
    }

    /// Shakes hands as a server. Has no deadline of its own.
    pub async fn accept(config: Arc<ServerConfig>, socket: TcpStream) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(broken)?;
        Self::shake_hands(Records::Server(session), socket).await
    }

    /// What was agreed on: certificates of the peer, the protocol, the cipher.
    pub fn session(&self) -> &CommonState {
        self.records.state()
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the peer has closed its side, or the connection is broken: one system call, which takes nothing away.
    #[cfg(target_os = "linux")]
    pub fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut asked = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        matches!(poll(&mut asked, Some(&Timespec::default())), Ok(1..)) && asked[0].revents().intersects(ends)
    }

    /// Whether the peer has closed its side, or the connection is broken: a look at the next byte, which takes nothing away.
    /// An end behind bytes that nobody has read yet is seen when they are read; Linux sees it at once.
    #[cfg(not(target_os = "linux"))]
    pub fn has_ended(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(&self.socket).peek(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    async fn shake_hands(records: Records, socket: TcpStream) -> io::Result<Self> {
        let mut stream = Self {
            socket,
            records,
            incoming: BytesMut::new(),
            plain: BytesMut::new(),
            outgoing: Outgoing::default(),
            room: READ_MIN,
            ended: false,
            said_close: false,
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = self.decipher(None);
            // Also after an error: the alert tells the peer why.
            let sent = ready!(self.poll_send(cx));
            match step? {
                Step::NeedsMore => sent?,
                Step::Open => return Poll::Ready(sent),
                Step::Ended => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
            if ready!(self.poll_receive(cx, READ_MIN))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes ciphertext from the socket; gives the count, 0 at the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let room = self.room.min(wanted.max(READ_MIN));
        self.incoming.reserve(room);
        let mut bytes = (&mut self.incoming).limit(room);
        // This way of reading knows that the socket is empty when it gave less than there was room for, and spares the
        // call that would only say so.
        let count = ready!(pin!(self.socket.read_buf(&mut bytes)).poll(cx))?;
        if count == room {
            self.room = (self.room * 2).min(READ_MAX);
        } else if count < self.room / 4 {
            self.room = (self.room / 2).max(READ_MIN);
        }
        Poll::Ready(Ok(count))
    }

    /// Deciphers what came, into `out` as long as it has room.
    fn decipher(&mut self, out: Option<&mut ReadBuf<'_>>) -> io::Result<Step> {
        let step = self.records.decipher(&mut self.incoming, out, &mut self.plain, &mut self.outgoing)?;
        if self.incoming.is_empty() && self.incoming.capacity() > 2 * self.room {
            // After a rush a small buffer does.
            self.incoming = BytesMut::new();
        }
        self.ended |= step == Step::Ended;
        Ok(step)
    }

    /// Sends all ciphertext that waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, self.outgoing.bytes()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.sent(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Enciphers what `fill` gives it, once what was enciphered before has left.
    fn poll_encipher(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let taken = self.records.encipher(slices, &mut self.incoming, &mut self.plain, &mut self.outgoing)?;
        // What the socket does not take now leaves with the next write or flush.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.plain.is_empty() {
            let count = this.plain.len().min(out.remaining());
            out.put_slice(&this.plain[..count]);
            this.plain.advance(count);
            if this.plain.is_empty() {
                this.plain = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let filled = out.filled().len();
        loop {
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_receive(cx, out.remaining()))? == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer closed the connection without saying so in TLS",
                )));
            }
            let deciphered = this.decipher(Some(out));
            // Alerts and key updates leave when they can; writes push them, too.
            if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            deciphered?;
            if out.filled().len() > filled {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_encipher(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_encipher(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.said_close, true) {
            this.records.close(&mut this.incoming, &mut this.plain, &mut this.outgoing)?;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
