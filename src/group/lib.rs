//! A group: its members share one configuration and one view of their health through a replicated log.
//!
//! [`Group`] is the facade, and this crate is the only one that names the Raft library. The picture:
//! ```text
//!   propose ──▶ proposing ──▶ leader's Raft ──▶ store (log, fsync) ──▶ machine (GroupState) ──▶ view ──▶ watch
//!                  │ forwards once               ▲
//!                  ▼                             │
//!   Peer service ◀── network (pooled channels) ──┘          tasks: peers (pings), duties (leader), ballot, view, ...
//! ```
//! Architecture invariant: what a proposal changes is decided by `warren_core::state` alone. Here is only how proposals
//! get an order, survive, and reach every member.

mod ballot;
mod change;
mod duties;
mod error;
mod fence;
mod group;
mod join;
mod judge;
mod level;
mod member;
pub mod metrics;
mod network;
mod options;
mod peers;
mod pool;
mod propose;
mod raft;
mod recover;
mod resign;
mod service;
mod store;
mod view;

#[cfg(test)]
mod trials;

pub use error::{JoinError, OpenError, ProposeError};
pub use group::Group;
pub use options::{Caller, Options, PeerDialer, Profile, ProfileError};
pub use recover::{Known, Recovery, Survivor};
pub use service::PeerService;
