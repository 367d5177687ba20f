//! Getting hold of an address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use warren_tunnel::splice::RESETS_WHEN_KILLED;

use super::IngressError;
use crate::config::PortRange;

/// Callers that the system keeps waiting for one listener.
const BACKLOG: i32 = 1_024;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);

pub(super) fn parse(text: &str) -> Result<SocketAddr, IngressError> {
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    named.as_deref().unwrap_or(text).parse().map_err(|_| IngressError::Address { text: text.to_owned() })
}

/// Binds exactly `address`, also while connections of a listener before it linger.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, IngressError> {
    open(address, |_| Ok(())).map_err(|source| failed(address, source))
}

/// The same for callers of a resource: whatever closes their sockets, also that this process is killed, resets them, since who
/// gets nothing, or a part, must not take it for the whole answer. Only the end of both directions takes that back.
pub(super) fn bind_for_callers(address: SocketAddr) -> Result<TcpListener, IngressError> {
    let linger = |socket: &Socket| match RESETS_WHEN_KILLED {
        true => socket.set_linger(Some(Duration::ZERO)),
        false => Ok(()),
    };
    open(address, linger).map_err(|source| failed(address, source))
}

fn failed(address: SocketAddr, source: io::Error) -> IngressError {
    match source.kind() {
        io::ErrorKind::AddrInUse => IngressError::InUse { address },
        _ => IngressError::Bind { address, source },
    }
}

/// Binds a free port of the range, the first from `random` on: gateways that share a machine should not all want the
/// lowest one while another is being restarted.
pub(super) fn bind_any(host: IpAddr, ports: PortRange, random: u16) -> Result<TcpListener, IngressError> {
    let PortRange { low, high } = ports;
    let start = low + random % (high - low).saturating_add(1);
    for port in (start..=high).chain(low..start) {
        match bind_for_callers(SocketAddr::new(host, port)) {
            Err(IngressError::InUse { .. }) => {}
            outcome => return outcome,
        }
    }
    Err(IngressError::NoPort { low, high })
}

/// How long to wait for an address to be free, again and again.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(RETRY_FIRST), |pause| Some((*pause * 2).min(RETRY_MAX)))
}

pub(super) fn local_address(listener: &TcpListener) -> Result<SocketAddr, IngressError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| IngressError::Bind { address: unknown, source })
}

fn open(address: SocketAddr, more: fn(&Socket) -> io::Result<()>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    more(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Small writes leave at once, and a caller that vanished is noticed in the end. Accepted sockets inherit these from
/// their listener, which saves five system calls for each caller.
fn tune(listener: &Socket) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    // Windows asks ten times, and older ones let no program say otherwise.
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(4);
    listener.set_tcp_nodelay(true)?;
    listener.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn whoever_is_accepted_has_the_options_of_the_listener() {
        let listener = bind_for_callers("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = local_address(&listener).unwrap();
        let (_near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, _) = accepted.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(accepted.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.linger().unwrap(), RESETS_WHEN_KILLED.then_some(Duration::ZERO));
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }
}
