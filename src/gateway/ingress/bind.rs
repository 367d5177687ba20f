//! Getting hold of an address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, time::sleep};

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
    open(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => IngressError::InUse { address },
        _ => IngressError::Bind { address, source },
    })
}

/// Binds a free port of the range, the first from `random` on: gateways that share a machine should not all want the
/// lowest one while another is being restarted.
pub(super) fn bind_any(host: IpAddr, ports: PortRange, random: u16) -> Result<TcpListener, IngressError> {
    let PortRange { low, high } = ports;
    let start = low + random % (high - low).saturating_add(1);
    for port in (start..=high).chain(low..start) {
        match bind(SocketAddr::new(host, port)) {
            Err(IngressError::InUse { .. }) => {}
            outcome => return outcome,
        }
    }
    Err(IngressError::NoPort { low, high })
}

/// Binds `address` as soon as it is free.
pub(super) async fn bind_patiently(address: SocketAddr) -> TcpListener {
    let mut pause = RETRY_FIRST;
    loop {
        sleep(pause).await;
        if let Ok(listener) = bind(address) {
            return listener;
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

pub(super) fn local_address(listener: &TcpListener) -> Result<SocketAddr, IngressError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| IngressError::Bind { address: unknown, source })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
