//! The agent: runs behind the firewall, dials out, and carries sessions to the site's targets.
//!
//! ```text
//!              Enrolment (gRPC)                tunnels (WebSocket on 443)
//!   enrol, renewal, membership ◀──▶ GATEWAY ◀────────────────────────────▶ uplink
//!                                                                            │ Incoming
//!                                              echo ◀── sessions ──▶ control ┘ (Watch, Propose, History)
//!                                                          │             │
//!   site's file ──▶ config ──▶ veto ──▶ targets ◀──────────┘             ▼
//!                                          ▲  └──▶ dial, splice        group ◀──▶ peers (mutual TLS) ◀──▶ other members
//!                                       probes ────── verdicts ──────────▲
//! ```
//! [`AgentConfig`] says how, [`Agent::build`] enrols and opens the log, [`Agent::run`] serves until it is drained.
//! [`examine`](examine()) looks at all that from beside, for who has to find out which hop fails.
//!
//! Architecture invariants: no destination is dialled but through `targets`, where both the group's rules and the
//! site's veto must allow the very address that is connected to. What to dial next is decided by
//! `warren_core::uplink`, what a probe means by `warren_core::judge`. The agent never names the gateway's crate.

mod agent;
mod cloud;
pub mod config;
mod control;
mod departure;
mod enrol;
pub mod examine;
mod identity;
mod inspection;
mod membership;
pub mod metrics;
mod peers;
mod probes;
mod proof;
mod recover;
mod renewal;
mod sessions;
mod spans;
mod stateful_set;
mod targets;
#[cfg(test)]
mod testing;
mod uplink;
mod vitals;

pub use agent::{Agent, Readiness, Ready, StartError};
pub use cloud::CloudError;
pub use config::{AgentConfig, App, GatewayUrl, Live, Overrides, ProxyUrl, Reload, Token, Way};
pub use enrol::EnrolError;
pub use examine::examine;
pub use identity::{LEAVE_NOTE, StoredIdentityError};
pub use recover::{RecoverError, Remains};

/// Version of this program, as other members and gateways see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
