//! Accept loops: they never wait for a caller, and survive a process that is out of file descriptors.

use std::{error::Error, io, net::SocketAddr, pin::pin, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Pause when the process or the system has no room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Hands every connection to `take` until `stop`. The sockets have the options of their listener.
pub(crate) async fn run(
    listener: &TcpListener,
    mut take: impl FnMut(TcpStream, SocketAddr),
    stop: &CancellationToken,
) {
    let mut stopped = pin!(stop.cancelled());
    let mut full = false;
    // The runtime ends a turn after a hundred callers or so, for others to have theirs.
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                full = false;
                take(socket, from);
            }
            // The peer was gone before we came; the next one is not affected.
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut full, true) {
                    warn!(error = &error as &dyn Error, "cannot accept, trying on");
                }
                tokio::select! {
                    () = &mut stopped => return,
                    () = sleep(FULL_PAUSE) => {}
                }
            }
        }
    }
}

fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
