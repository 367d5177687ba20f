//! One caller of a resource: plain TCP, as any driver speaks it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::targets::PAGE;

/// How long a caller waits for one answer.
const ANSWER: Duration = Duration::from_secs(15);
const MESSAGE_BYTES: usize = 256;

/// An echo session that is open.
#[derive(Debug)]
pub(super) struct EchoSession {
    stream: TcpStream,
    /// Counts messages, so that each is different and a repeated one would be seen.
    said: u64,
}

/// A caller's end of a session that failed, and why.
#[derive(Debug)]
pub(super) struct Failed {
    /// Its local address, by which the gateway's record of it is found; absent when there was no connection at all.
    pub(super) caller: Option<SocketAddr>,
    pub(super) why: io::Error,
}

impl EchoSession {
    /// Connects and has one message said back: only then is the session known to be open.
    pub(super) async fn open(address: &str) -> Result<Self, Failed> {
        let stream = connect(address).await.map_err(|why| Failed { caller: None, why })?;
        let mut session = Self { stream, said: 0 };
        session.say().await?;
        Ok(session)
    }

    /// One round trip, every byte compared.
    pub(super) async fn say(&mut self) -> Result<(), Failed> {
        self.said += 1;
        let caller = self.stream.local_addr().ok();
        let round_trip = round_trip(&mut self.stream, self.said);
        within(round_trip).await.map_err(|why| Failed { caller, why })
    }
}

/// Fetches the page once.
pub(super) async fn fetch(address: &str) -> Result<(), Failed> {
    let mut stream = connect(address).await.map_err(|why| Failed { caller: None, why })?;
    let caller = stream.local_addr().ok();
    within(get(&mut stream, address)).await.map_err(|why| Failed { caller, why })
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = within(TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn round_trip(stream: &mut TcpStream, number: u64) -> io::Result<()> {
    let message: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(MESSAGE_BYTES).collect();
    stream.write_all(&message).await?;
    let mut answer = vec![0; MESSAGE_BYTES];
    stream.read_exact(&mut answer).await?;
    if answer == message { Ok(()) } else { Err(io::Error::other("the echo said something else")) }
}

async fn get(stream: &mut TcpStream, address: &str) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200") && answer.ends_with(PAGE) {
        return Ok(());
    }
    let kind = if answer.is_empty() { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
    Err(io::Error::new(kind, "the page came not or not whole"))
}

async fn within<T>(act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER, act).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::targets::Targets;

    #[tokio::test]
    async fn the_targets_answer_their_callers() {
        let targets = Targets::start().await.unwrap();
        let mut session = EchoSession::open(&targets.echo.to_string()).await.unwrap();
        session.say().await.unwrap();
        fetch(&targets.web.to_string()).await.unwrap();
        // The web page is no echo.
        assert!(EchoSession::open(&targets.web.to_string()).await.is_err());
    }
}
