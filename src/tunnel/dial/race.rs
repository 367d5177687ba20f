//! Connecting to the first of several addresses that answers.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{net::TcpStream, time::sleep};

/// How long one address is waited for before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries the addresses in their order, each with a head start over the next; an address that fails hands over at once.
/// Gives the first connection, or the most telling error. Waits for ever on addresses that never answer.
pub async fn connect_first(places: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = places.into_iter();
    let mut running = FuturesUnordered::new();
    let mut told: Option<io::Error> = None;
    loop {
        match waiting.next() {
            Some(place) => running.push(TcpStream::connect(place)),
            None if running.is_empty() => break,
            None => {}
        }
        let last = waiting.len() == 0;
        tokio::select! {
            Some(ended) = running.next() => match ended {
                Ok(socket) => return Ok(socket),
                Err(error) => told = Some(more_telling(told, error)),
            },
            () = sleep(HEAD_START), if !last => {}
        }
    }
    Err(told.unwrap_or_else(|| io::Error::other("no address to connect to")))
}

/// The same addresses, IPv6 and IPv4 by turns, beginning with the family that the system put first: when one family
/// leads nowhere, the other one's turn comes with the second address.
pub(super) fn by_turns(places: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = places.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|place| place.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            return turns;
        }
        turns.extend(one.into_iter().chain(other));
    }
}

/// A host that refused was at least there: that tells more than one without a way to it.
fn more_telling(earlier: Option<io::Error>, later: io::Error) -> io::Error {
    match earlier {
        Some(earlier) if earlier.kind() == io::ErrorKind::ConnectionRefused => earlier,
        _ => later,
    }
}
