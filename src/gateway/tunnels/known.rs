//! Agents that the store knew, for when it cannot be asked.
//!
//! Whoever was revoked in the meantime, through another gateway, gets in until the store is back; that is why it must be a
//! short while.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use warren_core::id::AgentId;

/// After the store's last answer.
const WHILE: Duration = Duration::from_secs(3_600);
/// When there are more, the one who came longest ago is forgotten.
const AGENTS_MAX: usize = 100_000;

/// Cheap to clone.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Who was let in on the store's word, and when.
    agents: BTreeMap<AgentId, Instant>,
    /// The store's last answer, to whatever question: from then on a revocation may have been missed.
    answered: Option<Instant>,
}

impl Known {
    /// The store knows the agent, and has not revoked it.
    pub(super) fn saw(&self, agent: AgentId, now: Instant) {
        let mut inner = self.lock();
        inner.agents.insert(agent, now);
        inner.answered = Some(now);
        if inner.agents.len() > AGENTS_MAX
            && let Some(oldest) = inner.agents.iter().min_by_key(|(_, at)| **at).map(|(agent, _)| *agent)
        {
            inner.agents.remove(&oldest);
        }
    }

    /// The store has answered, and all that it knows of revocations was read.
    pub(crate) fn answered(&self, now: Instant) {
        self.lock().answered = Some(now);
    }

    pub(super) fn vouches(&self, agent: AgentId, now: Instant) -> bool {
        let inner = self.lock();
        let lately = inner.answered.is_some_and(|at| now.duration_since(at) < WHILE);
        lately && inner.agents.contains_key(&agent)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn the_while_begins_with_the_last_answer_of_the_store() {
        let (known, now, agent) = (Known::default(), Instant::now(), AgentId::from_random(1));
        known.saw(agent, now);
        known.answered(now + 5 * WHILE);
        assert!(known.vouches(agent, now + 5 * WHILE + WHILE / 2), "it was connected all the time");
        assert!(!known.vouches(agent, now + 6 * WHILE));
        assert!(!known.vouches(AgentId::from_random(2), now + 5 * WHILE), "never let in");
    }
}
