//! How often strangers may knock.
//!
//! Whoever fails costs the store a look, and an entry in the audit if it is a user who may not. So failures of one address
//! are counted, and beyond the limit it is refused unheard. Users often share an address with others, behind a proxy or
//! a load balancer: a token that was good before is heard all the same, so that nobody can be locked out by a neighbour.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tonic::Code;

use super::{Context, error::Problem};
use crate::limit::RateLimit;

/// Failed calls a second of one address, with bursts of twice that.
const FAILURES_PER_SECOND: u32 = 5;
/// Tokens that are remembered as good; when there are more, all are forgotten and learned again.
const KNOWN_MAX: usize = 1_024;

/// What stands between the port and the services. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) context: Context,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    enrolments: Mutex<RateLimit>,
    failures: Mutex<RateLimit>,
    /// Hashes of tokens.
    known: Mutex<BTreeSet<[u8; 32]>>,
}

impl Door {
    pub(super) fn new(context: Context) -> Self {
        let shared = Shared {
            enrolments: Mutex::new(RateLimit::new(context.config.limits.enrolments)),
            failures: Mutex::new(RateLimit::new(FAILURES_PER_SECOND)),
            known: Mutex::default(),
        };
        Self { context, shared: Arc::new(shared) }
    }

    /// Counts an enrolment call.
    pub(super) fn enrols(&self, from: IpAddr) -> Result<(), Problem> {
        if lock(&self.shared.enrolments).admit(from, Instant::now()) {
            return Ok(());
        }
        Err(limited("too many enrolment calls from this address, ask again in a few seconds"))
    }

    /// Whether a token may be looked up.
    pub(super) fn hears(&self, from: IpAddr, token_hash: &[u8; 32]) -> Result<(), Problem> {
        if lock(&self.shared.failures).has_room(from, Instant::now())
            || lock(&self.shared.known).contains(token_hash)
        {
            return Ok(());
        }
        Err(limited("too many failed calls from this address, ask again in a few seconds"))
    }

    /// Counts a failure; false when there were too many already.
    pub(super) fn failed(&self, from: IpAddr) -> bool {
        lock(&self.shared.failures).admit(from, Instant::now())
    }

    /// A token turned out to be good.
    pub(super) fn knows(&self, token_hash: [u8; 32]) {
        let mut known = lock(&self.shared.known);
        if known.len() >= KNOWN_MAX && !known.contains(&token_hash) {
            known.clear();
        }
        known.insert(token_hash);
    }
}

fn limited(message: &str) -> Problem {
    Problem::new(Code::ResourceExhausted, "rate_limited", message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
