//! The caller's side: opens sessions as any driver would, and checks every byte.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to a resource's port.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Opens a session to an echo target and sees one round trip; the session and the time that took.
pub fn open_echo(address: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let start = Instant::now();
    let mut socket = connect(address)?;
    round_trip(&mut socket, b"are you there?")?;
    Ok((socket, start.elapsed()))
}

/// One request and its echo.
pub fn round_trip(socket: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    socket.write_all(message)?;
    let mut echoed = vec![0; message.len()];
    socket.read_exact(&mut echoed)?;
    if echoed == message { Ok(()) } else { Err(io::Error::other("the echo differs from what was sent")) }
}

/// Sends `length` bytes through an echo session, whole, half-closes, and checks that exactly those come back.
pub fn echo_whole(address: SocketAddr, length: usize) -> io::Result<()> {
    let mut socket = connect(address)?;
    let mut writer = socket.try_clone()?;
    let sent: Vec<u8> = pattern(length);
    let expected = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent)?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    let mut received = Vec::with_capacity(length);
    socket.read_to_end(&mut received)?;
    sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
    if received == expected {
        Ok(())
    } else {
        Err(io::Error::other(format!("{} bytes came back of {length}, or others", received.len())))
    }
}

/// Whether the session ends without a byte, by close or reset, as it must when no target was reached.
pub fn ends_silently(address: SocketAddr) -> bool {
    let Ok(mut socket) = connect(address) else { return true };
    let mut byte = [0];
    match socket.read(&mut byte) {
        Ok(0) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        Ok(_) => false,
    }
}

/// Bytes in which a lost, repeated or swapped piece shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
