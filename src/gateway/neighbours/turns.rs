//! Whose turn it is to ask the other gateways.
//!
//! A thousand callers may wait for a member of one group, and what one of them is told holds for all: one asks, and when it
//! was in vain the next one does a moment later. As soon as one is taken everybody may ask.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use warren_core::id::{GroupId, Name};

const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// When there are more, the others may be asked more often.
const PLACES_MAX: usize = 10_000;

/// When it was asked for a resource of a group, by somebody who has not been taken.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<(GroupId, Name), Instant>>);

impl Turns {
    /// Takes the turn; or tells when the next one is.
    pub(super) fn take(&self, group: GroupId, resource: &Name, now: Instant) -> Result<(), Instant> {
        let (place, mut asked) = ((group, resource.clone()), self.lock());
        if let Some(next) = asked.get(&place).map(|at| *at + AGAIN_AFTER).filter(|next| *next > now) {
            return Err(next);
        }
        if asked.len() >= PLACES_MAX {
            asked.retain(|_, at| *at + AGAIN_AFTER > now);
        }
        if asked.len() < PLACES_MAX {
            asked.insert(place, now);
        }
        Ok(())
    }

    /// It was in vain; tells when the next turn is.
    pub(super) fn in_vain(&self, group: GroupId, resource: &Name, now: Instant) -> Instant {
        if let Some(at) = self.lock().get_mut(&(group, resource.clone())) {
            *at = now;
        }
        now + AGAIN_AFTER
    }

    /// One was taken; says whether others may wait for that.
    pub(super) fn are_over(&self, group: GroupId, resource: &Name) -> bool {
        self.lock().remove(&(group, resource.clone())).is_some()
    }

    /// There is somebody new to ask.
    pub(super) fn begin_anew(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(GroupId, Name), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{group, name};

    #[test]
    fn one_asks_and_the_next_one_a_moment_later_until_one_is_taken() {
        let (turns, now, db) = (Turns::default(), Instant::now(), name("db"));
        let take = |resource: &str, after| turns.take(group(), &name(resource), now + after).is_ok();
        let moment = Duration::from_millis(1);
        assert!(take("db", Duration::ZERO));
        assert!(!take("db", moment));
        assert!(take("files", moment), "another resource may be had");
        assert!(take("db", AGAIN_AFTER) && !take("db", AGAIN_AFTER + moment));
        assert!(turns.are_over(group(), &db));
        assert!(take("db", AGAIN_AFTER + moment));
    }

    #[test]
    fn it_is_told_when_the_next_turn_is() {
        let (turns, now, db) = (Turns::default(), Instant::now(), name("db"));
        turns.take(group(), &db, now).unwrap();
        assert_eq!(turns.take(group(), &db, now), Err(now + AGAIN_AFTER));
        assert!(!turns.are_over(group(), &name("other")));
        // Its answer came late.
        let (late, next) = (now + AGAIN_AFTER, now + 2 * AGAIN_AFTER);
        assert_eq!(turns.in_vain(group(), &db, late), next);
        assert_eq!(turns.take(group(), &db, late), Err(next));
        turns.begin_anew();
        assert_eq!(turns.take(group(), &db, late), Ok(()));
    }
}
