//! The tokio edge: tunnels over byte streams, one task each.
//!
//! [`Bundles`] knows all tunnels of a process. A stream first says hello ([`Bundles::greet`]), so that it is known which
//! process is at the other end, and then joins the bundle of that process ([`Bundles::join`]), which gives a [`Driver`], the
//! future that moves bytes between stream and machine until the tunnel ends, and a [`Handle`] to open and accept sessions with.
//!
//! All state of a bundle is behind one mutex that is held for moments and never over an await: whoever asks for something
//! does it there and then, and wakes the driver when there is something to send. Only a tunnel's driver takes the tunnel's
//! events, so that they are seen in their order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    budget::Budget,
    frame::Hello,
    machine::{Bundle, Config, Role, Tunnel},
};

mod bundles;
mod driver;
mod greet;
mod handle;
mod keeper;
mod open;
mod shared;
mod slot;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use bundles::Bundles;
pub use driver::Driver;
pub use greet::Greeted;
pub use handle::{Closed, Handle, PeerDrain, Stats, Status};
pub use open::{Incoming, OpenAnswer, OpenError};
use shared::{Port, Shared};
pub use slot::Meter;
pub use stream::{SessionError, SessionInfo, SessionStream};
use wire::Wire;

/// Puts a single tunnel on `stream`, whose first bytes may already be in `read_buf`; its sessions end with it. `process` is
/// the budget that all tunnels of the process share. Nothing happens until the driver is polled; dropping it ends the tunnel.
pub fn run<S>(
    stream: S,
    read_buf: Bytes,
    role: Role,
    config: Config,
    hello: Hello,
    process: &Budget,
) -> (Handle, Driver<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = Config { resume_within: Duration::ZERO, ..config };
    let wire = Wire::new(stream, read_buf, role.into());
    let tunnel = Tunnel::new(config.clone(), role, hello, process.child(config.budget), shared::now());
    let shared = Shared::new(Bundle::new(config, role));
    join(&shared, tunnel, wire, Vec::new())
}

/// Makes a tunnel one of a bundle. `frames` were read behind its hello and have not been looked at.
fn join<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    tunnel: Tunnel,
    wire: Wire<S>,
    frames: Vec<crate::frame::Frame>,
) -> (Handle, Driver<S>) {
    let role = tunnel.role();
    let key = shared.join(tunnel);
    let port = Arc::new(Port::new(key));
    let driver = Driver::new(wire, frames, role, shared.clone(), port.clone());
    (Handle::new(shared.clone(), port), driver)
}
