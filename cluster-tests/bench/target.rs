//! The private target behind every tunnel of the bench.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::wire::{GO, READY, REQUEST, Request, damage, receive_blocks, send_blocks};

/// Callers that may wait for `accept`: a burst of opens must not be dropped by the target.
const BACKLOG: u32 = 4096;
/// Thousands of idle sessions hold such a buffer each; requests are small.
const ECHO_BUFFER: usize = 2048;
/// After a failed accept, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves on a free port of the loopback interface, which `listening` is told, for as long as it is polled.
pub(crate) async fn serve(listening: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(BACKLOG)?;
    listening(listener.local_addr()?);
    loop {
        match listener.accept().await {
            // A caller that breaks off is the caller's business: it sees the failure itself.
            Ok((socket, _)) => drop(tokio::spawn(session(socket))),
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn session(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut request = [0; REQUEST];
    socket.read_exact(&mut request).await?;
    match Request::decode(request)? {
        Request::Echo => echo(socket).await,
        Request::Take => {
            socket.write_u8(READY).await?;
            let received = receive_blocks(&mut socket).await?;
            socket.write_u64(received).await?;
            until_closed(socket).await
        }
        Request::Give { millis, rate } => {
            socket.write_u8(READY).await?;
            let go = socket.read_u8().await?;
            if go != GO {
                return Err(damage(format!("{go:#04x} where GO was due")));
            }
            send_blocks(&mut socket, Duration::from_millis(millis.into()), rate).await?;
            until_closed(socket).await
        }
    }
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = [0; ECHO_BUFFER];
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            read => socket.write_all(&buffer[..read]).await?,
        }
    }
}

/// The caller closes first: no tunnel must cut the end of a stream for an early close.
async fn until_closed(mut socket: TcpStream) -> io::Result<()> {
    while socket.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}
