//! Accept loops: they never wait for a caller, and survive a process that is out of file descriptors.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Pause when the process or the system has no room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Hands every connection to `take` until `stop`.
pub(crate) async fn run(
    listener: &TcpListener,
    mut take: impl FnMut(TcpStream, SocketAddr),
    stop: &CancellationToken,
) {
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                full = false;
                tune(&socket);
                take(socket, from);
            }
            // The peer was gone before we came; the next one is not affected.
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut full, true) {
                    warn!(error = &error as &dyn Error, "cannot accept, trying on");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(FULL_PAUSE) => {}
                }
            }
        }
    }
}

/// Small writes leave at once, and a caller that vanished is noticed in the end.
fn tune(socket: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    // A socket that takes no options is closed already, which its reader will find out.
    drop(socket.set_nodelay(true));
    drop(socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive));
}

fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
