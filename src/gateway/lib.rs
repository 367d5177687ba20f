//! The cloud side: takes agents' tunnels on one port, and gives callers a plain host and port for each resource.
//!
//! ```text
//! caller ─▶ ingress ─▶ dispatch ─▶ registry (who has a tunnel, what its group says) ─▶ tunnel ─▶ agent ─▶ target
//! agent ──▶ listener ─▶ tunnels ─▶ registry ◀─ control (watches the group through the tunnel)
//! other gateways ─▶ store ─▶ follow ─▶ registry, ingress
//! other gateways ◀═▶ neighbours ◀─▶ dispatch (callers whose group has a tunnel elsewhere)
//! people ─▶ listener ─▶ admin ──▶ store (who) and, through the registry, the group (what)
//! ```
//!
//! Architecture invariants: only [`store`] speaks SQL; only [`control`] and [`registry`] speak to agents' control
//! service; which member takes a session is decided in `warren_core::balance`, never here.

pub mod admin;
pub mod config;
pub mod control;
pub mod dispatch;
mod ends;
pub mod enrol;
mod follow;
pub mod ingress;
mod limit;
pub mod listener;
pub mod lock;
pub mod metrics;
mod neighbours;
pub mod registry;
mod revoked;
pub mod server;
pub mod sessions;
pub mod setup;
mod spans;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tunnels;

pub use config::GatewayConfig;
pub use server::{Gateway, Ready, StartError};
