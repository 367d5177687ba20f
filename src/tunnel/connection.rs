//! The tokio edge: one machine over one byte stream, in one task.
//!
//! [`run`] gives a [`Driver`], the future that moves bytes between stream and machine until the tunnel ends, and a
//! [`Handle`] to open and accept sessions with. All state of a tunnel is behind one mutex that is held for moments and
//! never over an await: whoever asks for something does it there and then, and wakes the driver when there is something
//! to send. Only the driver takes the machine's events, so that they are seen in their order.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    budget::Budget,
    frame::Hello,
    machine::{Config, Role, Tunnel},
};

mod driver;
mod handle;
mod open;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use driver::Driver;
pub use handle::{Closed, Handle, PeerDrain, Stats, Status};
pub use open::{Incoming, OpenAnswer, OpenError};
use shared::Shared;
pub use stream::{Meter, SessionError, SessionInfo, SessionStream};

/// Puts a tunnel on `stream`, whose first bytes may already be in `read_buf`. `process` is the budget that all tunnels of
/// the process share. Nothing happens until the driver is polled; dropping it ends the tunnel.
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
    let budget = process.child(config.budget);
    let tunnel = Tunnel::new(config, role, hello, budget, shared::now());
    let shared = Shared::new(tunnel);
    let driver = Driver::new(stream, read_buf, role, shared.clone());
    (Handle::new(shared), driver)
}
