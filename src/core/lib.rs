//! Warren's decisions, without a socket, a clock or a task.
//!
//! Everything here takes what it needs as arguments (`now`, random bits) and returns what should be done; the other
//! crates do it. That is why every rule of the product can be tested in microseconds.

pub mod backoff;
pub mod balance;
pub mod catalogue;
pub mod config;
pub mod destination;
pub mod fields;
pub mod id;
pub mod judge;
pub mod state;
pub mod status;
pub mod threads;
pub mod trace;
pub mod uplink;
pub mod view;
pub mod vitals;
