//! What commands print: the API's answers in the names and shapes that scripts rely on.
//!
//! They are kept apart from the protocol's messages on purpose: what stands here is a contract with scripts, and
//! changes only by addition.

use serde::Serialize;

mod agent;
mod config;
mod group;
mod member;
mod moment;
mod people;
mod recovery;
mod resource;
mod session;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use agent::Agent;
pub(crate) use config::{ConfigDiff, ConfigDocument, HistoryEntry};
pub(crate) use group::{Group, GroupStatus};
pub(crate) use moment::Moment;
pub(crate) use people::{AuditEntry, Customer, NewUser, User};
pub(crate) use recovery::Recovered;
pub(crate) use resource::Resource;
pub(crate) use session::Session;
pub(crate) use token::{NewToken, Token};

/// What a change came to: the thing, and the config revision after it.
#[derive(Debug, Serialize)]
pub(crate) struct Changed<'a> {
    pub(crate) id: &'a str,
    pub(crate) revision: u64,
}

/// A thing that is gone.
#[derive(Debug, Serialize)]
pub(crate) struct Gone<'a> {
    pub(crate) deleted: &'a str,
}

/// The protocol says "none" with an empty text.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
