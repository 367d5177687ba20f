//! The tunnel between agent and gateway: one TLS connection that carries any number of sessions.
//!
//! Two halves. The pure half has no socket, task or clock: [`frame`] (what is said), [`websocket`] (how it is wrapped),
//! [`session`] (one caller's bytes, offsets and credit) and [`machine`] (the protocol: events and `now` in, frames out).
//! The tokio half stands at its edge: [`connection`] drives one machine over one stream and gives out a [`Handle`] and
//! [`SessionStream`]s; [`dial`] and [`upgrade`] make that stream; [`splice`], [`relay`] and [`echo`] use it.
//!
//! Architecture invariant: no module of the pure half names tokio, and only [`frame`] and [`websocket`] parse bytes.

pub mod budget;
pub mod connection;
pub mod dial;
pub mod echo;
pub mod frame;
pub mod machine;
pub mod metrics;
pub mod relay;
pub mod session;
pub mod splice;
pub mod tls;
pub mod upgrade;
pub mod websocket;

pub use budget::Budget;
pub use connection::{
    Bundles, Closed, Driver, Greeted, Handle, Incoming, Meter, OpenAnswer, OpenError, PeerDrain,
    SessionError, SessionInfo, SessionStream, Stats, Status, run,
};
pub use frame::{CloseReason, Hello, OpenRequest, OpenResult, ResetReason, SessionKind};
pub use machine::{Config, Liveness, Role};
