//! Warren as its users meet it: real processes of the real binary, real TLS, real disks, real kill -9.
//!
//! A test makes a [`Site`] (one gateway, a group, some agents), points it at [`target`]s that the test itself serves,
//! hurts it with the verbs of [`Process`] and of a [`Relay`] on the way to the gateway, and judges by what a [`caller`] or
//! a checked [`load`] gets. Whoever wants to misbehave speaks
//! [`tls`] and the [`tunnel`] protocol by hand. Everything is plain blocking code: nothing of the product's own runtime
//! can hide a fault. Waits are predicates with a deadline ([`eventually`]), logs are kept when a test fails, and every
//! process ends with the test.

mod binary;
pub mod caller;
pub mod chaos;
mod clock;
pub mod crew;
pub mod disk;
pub mod faults;
pub mod history;
pub mod http;
mod kubernetes;
pub mod load;
pub mod netns;
pub mod opens;
mod other_gateway;
mod place;
mod postgres;
mod process;
pub mod proxy;
pub mod relay;
pub mod rpc;
mod site;
pub mod target;
pub mod tls;
pub mod tools;
pub mod tunnel;
mod wait;

pub use binary::{warren, warren_binary};
pub use clock::Clock;
pub use kubernetes::Kubernetes;
pub use other_gateway::OtherGateway;
pub use place::Place;
pub use postgres::Postgres;
pub use process::Process;
pub use relay::Relay;
pub use site::{AgentProcess, Answer, GROUP, Site, SiteBuilder};
pub use wait::{eventually, hold, within};
