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
    connect(address).map_or(true, |mut socket| wait_for_end(&mut socket, PATIENCE).is_ok())
}

/// Waits until a session of which nothing more is to come has ended, by close or reset. A byte that comes is an error, and so
/// is a session that is still there after that time.
pub fn wait_for_end(socket: &mut TcpStream, patience: Duration) -> Result<(), String> {
    // The kernel takes zero for no bound at all.
    socket
        .set_read_timeout(Some(patience.max(Duration::from_millis(1))))
        .map_err(|error| error.to_string())?;
    match socket.read(&mut [0]) {
        Ok(1) => Err("it says a byte that nobody sent".to_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(format!("it is still there after {patience:.1?}"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Waits for the end of a connection on which nobody says anything more, which must be a reset.
pub fn expect_reset(mut socket: TcpStream, patience: Duration) {
    let end = socket.set_read_timeout(Some(patience)).and_then(|()| socket.read(&mut [0]));
    assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
}

/// Bytes in which a lost, repeated or swapped piece shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::sockopt;

    use super::*;

    /// Both ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn only_an_end_counts_as_one() {
        const SHORT: Duration = Duration::from_millis(20);
        let (mut near, mut far) = pair();
        assert!(wait_for_end(&mut near, SHORT).unwrap_err().contains("still there"));
        far.write_all(b"x").unwrap();
        assert!(wait_for_end(&mut near, PATIENCE).unwrap_err().contains("nobody sent"));
        drop(far);
        wait_for_end(&mut near, PATIENCE).unwrap();
        let (mut near, far) = pair();
        sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
        drop(far);
        wait_for_end(&mut near, PATIENCE).unwrap();
    }
}
