//! One direction of one connection.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{self, PollFd, PollFlags, Timespec},
    io::Errno,
    net::{self, SendFlags, sockopt},
};

use super::{
    TICK,
    connection::{Connection, End, Way},
};
use crate::wait;

/// Bytes that may be on their way in one direction: 100 ms at 640 MB/s.
const AWAY_MAX: usize = 64 << 20;
/// How long ends that were told FIN may still say something.
const FIN_MAX: Duration = Duration::from_secs(2);

/// Carries bytes until this direction or the whole connection has ended. `sockets` are the agent's and the gateway's.
pub(super) fn carry(sockets: &[TcpStream; 2], connection: &Connection, way: Way) {
    let [agent, gateway] = sockets;
    let (from, to) = match way {
        Way::ToGateway => (agent, gateway),
        Way::ToAgent => (gateway, agent),
    };
    if flow(from, to, connection, way).is_err() {
        // One end is gone: the other is told the same way.
        connection.cut(End::Reset);
    }
    match connection.ended() {
        Some(End::Reset) => sockets.iter().for_each(reset_on_close),
        Some(End::Fin) => bid_farewell(from, to),
        None => {}
    }
}

/// Makes the close of a socket a reset.
pub(super) fn reset_on_close(socket: &TcpStream) {
    // A socket that has no such option any more is closed already.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

fn flow(mut from: &TcpStream, to: &TcpStream, connection: &Connection, way: Way) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut away: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut bytes_away = 0;
    let mut at_end = false;
    while connection.ended().is_none() {
        let now = Instant::now();
        if connection.orders(way).holed {
            wait::until(now + TICK);
            continue;
        }
        if away.front().is_some_and(|(due, _)| *due <= now) {
            let (_, bytes) = away.pop_front().unwrap_or_else(|| unreachable!("its front was looked at"));
            bytes_away -= bytes.len();
            pass(&bytes, to, connection, way)?;
            continue;
        }
        if at_end && away.is_empty() {
            return to.shutdown(Shutdown::Write);
        }
        let next = away.front().map_or(now + TICK, |(due, _)| (now + TICK).min(*due));
        if at_end || bytes_away >= AWAY_MAX {
            wait::until(next);
            continue;
        }
        if !away.is_empty() {
            from.set_read_timeout(Some((next - now).max(Duration::from_micros(1))))?;
        }
        match from.read(&mut buffer) {
            Ok(0) => at_end = true,
            Ok(read) => {
                let delay = connection.orders(way).delay;
                if delay.is_zero() && away.is_empty() {
                    pass(&buffer[..read], to, connection, way)?;
                } else {
                    away.push_back((Instant::now() + delay, buffer[..read].to_vec()));
                    bytes_away += read;
                }
            }
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn pass(mut bytes: &[u8], to: &TcpStream, connection: &Connection, way: Way) -> io::Result<()> {
    while !bytes.is_empty() && connection.ended().is_none() {
        // Waits outside, so that whoever orders something meanwhile finds the direction free.
        let write =
            |allowed| Ok(net::send(to, &bytes[..allowed], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?);
        match connection.pass(way, bytes.len(), write) {
            Some(Ok(count)) => bytes = &bytes[count..],
            Some(Err(error)) if is_pause(&error) => wait_for_room(to)?,
            Some(Err(error)) => return Err(error),
            None => wait::until(Instant::now() + TICK),
        }
    }
    Ok(())
}

/// Until the socket takes bytes, is broken, or a tick is over.
fn wait_for_room(socket: &TcpStream) -> io::Result<()> {
    let tick = Timespec::try_from(TICK).unwrap_or_default();
    match event::poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&tick)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// FIN to the one that is written to, and an open ear for the other: a close over unread bytes would be a reset.
fn bid_farewell(mut from: &TcpStream, to: &TcpStream) {
    let _ = to.shutdown(Shutdown::Write);
    let (start, mut waste) = (Instant::now(), [0; 4096]);
    while start.elapsed() < FIN_MAX {
        match from.read(&mut waste) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if is_pause(&error) => {}
            Err(_) => break,
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
