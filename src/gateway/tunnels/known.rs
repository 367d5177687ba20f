//! Agents that the store knew a while ago, for when it cannot be asked.
//!
//! Whoever was revoked in the meantime, through another gateway, gets in until the store is back; that is why it must be a
//! short while.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use warren_core::id::AgentId;

const WHILE: Duration = Duration::from_secs(3_600);
/// When there are more, those of whom it was longest ago are forgotten.
const AGENTS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<AgentId, Instant>>);

impl Known {
    /// The store knows the agent, and has not revoked it.
    pub(super) fn saw(&self, agent: AgentId, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(agent, now);
        if seen.len() > AGENTS_MAX {
            seen.retain(|_, at| now.duration_since(*at) < WHILE);
            if seen.len() > AGENTS_MAX
                && let Some(oldest) = seen.iter().min_by_key(|(_, at)| **at).map(|(agent, _)| *agent)
            {
                seen.remove(&oldest);
            }
        }
    }

    pub(super) fn vouches(&self, agent: AgentId, now: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&agent).is_some_and(|at| now.duration_since(*at) < WHILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_vouched_for_a_while_and_no_longer() {
        let (known, now, agent) = (Known::default(), Instant::now(), AgentId::from_random(1));
        assert!(!known.vouches(agent, now));
        known.saw(agent, now);
        assert!(known.vouches(agent, now + WHILE / 2));
        assert!(!known.vouches(agent, now + WHILE));
        known.saw(agent, now + WHILE);
        assert!(known.vouches(agent, now + WHILE));
    }
}
