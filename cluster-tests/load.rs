//! Loads in which every byte is known beforehand at both ends, so that a lost, repeated, swapped or foreign one shows.
//!
//! [`Bulk`] moves much in both directions at once, [`Interactive`] asks and answers at a steady pace. Both are plain
//! threads: a caller for each session, and targets that the test itself serves. What a session says follows from its
//! seed; [`seed`] takes another one from the environment to look for what this one does not show.

use std::{env, time::Duration};

mod bulk;
mod bytes;
mod conversation;
mod interactive;
mod slow;

pub use bulk::{Bulk, Exchange, Running, Sizes};
pub use bytes::{Bytes, Random};
pub use conversation::{Broken, Conversation};
pub use interactive::{Answers, Interactive, Summary};
pub use slow::{Flood, SlowReader};

/// How long any end waits for the next byte: longer than any outage that a session has to outlive.
const PATIENCE: Duration = Duration::from_secs(75);

/// `SEED` of the environment, or this one.
pub fn seed(usual: u64) -> u64 {
    env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}
