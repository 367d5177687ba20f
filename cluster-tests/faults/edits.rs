//! Edits of the config one after the other, over a connection that stays: what they wait for is the group, not a program's start.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    GROUP, Site,
    crew::Crew,
    rpc::{
        Failure, Rpc,
        admin::{Changed, ConfigDocument, GetConfig, SetConfig},
    },
};

/// Longer than the gateway waits for its group.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The resource that is written on.
const MARK: &str = "mark";

/// Whoever edits; each edit is another document.
#[derive(Debug)]
pub(super) struct Editor {
    admin: Rpc,
    /// The document up to where its number belongs, and behind it.
    around: (String, String),
    next: u64,
}

/// One edit, and what its author was told.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) ended: Instant,
    pub(super) outcome: Result<(), Failure>,
}

/// Edits without a pause, until they are told to finish.
#[derive(Debug)]
pub(super) struct Editing {
    done: Arc<Mutex<Vec<Edit>>>,
    author: Crew<()>,
}

impl Editor {
    pub(super) fn new(site: &Site) -> Self {
        site.resource(MARK, "127.0.0.1:9");
        let admin = site.admin();
        let told: ConfigDocument = admin
            .call("Config/Get", GetConfig { group: GROUP.to_owned() }, CALL_MAX)
            .expect("the config of a group that is well");
        let head = format!("  {MARK}:\n");
        let (before, after) = told.document.split_once(&head).expect("the resource was just made");
        let around = (format!("{before}{head}    description: n"), format!("\n{after}"));
        Self { admin, around, next: 0 }
    }

    pub(super) fn edit(&mut self) -> Edit {
        self.next += 1;
        let (before, after) = &self.around;
        let document = format!("{before}{}{after}", self.next);
        let ask = SetConfig { group: GROUP.to_owned(), document, expected_revision: None };
        let outcome = self.admin.call::<_, Changed>("Config/Set", ask, CALL_MAX).map(drop);
        Edit { ended: Instant::now(), outcome }
    }

    pub(super) fn start(mut self) -> Editing {
        let (all, mut author) = (Arc::new(Mutex::new(Vec::new())), Crew::default());
        let done = all.clone();
        author.spawn(move |stop| {
            while !stop.is_set() {
                let edit = self.edit();
                done.lock().unwrap_or_else(PoisonError::into_inner).push(edit);
            }
        });
        Editing { done: all, author }
    }
}

impl Editing {
    /// How many were made since then.
    pub(super) fn made_since(&self, moment: Option<Instant>) -> usize {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter().filter(|edit| edit.outcome.is_ok() && moment.is_none_or(|from| edit.ended > from)).count()
    }

    pub(super) fn finish(self) -> Vec<Edit> {
        for author in self.author.finish() {
            author.expect("an author does not panic");
        }
        std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When the longest time without an edit made was over, since then.
pub(super) fn writable_again(edits: &[Edit], since: Instant) -> Instant {
    let made: Vec<_> = edits
        .iter()
        .filter(|edit| edit.outcome.is_ok() && edit.ended > since)
        .map(|edit| edit.ended)
        .collect();
    let gaps = [since].into_iter().chain(made.iter().copied()).zip(&made);
    gaps.max_by_key(|(from, until)| **until - *from).map_or(since, |(_, until)| *until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_on_its_way_is_not_the_recovery() {
        let since = Instant::now();
        let at = |millis| since + Duration::from_millis(millis);
        let edit = |millis, outcome| Edit { ended: at(millis), outcome };
        let lost = || Err(Failure::Silence("gone".to_owned()));
        let edits = [edit(1, Ok(())), edit(5, lost()), edit(350, Ok(())), edit(360, Ok(()))];
        assert_eq!(writable_again(&edits, since), at(350));
        assert_eq!(writable_again(&edits[..2], since), at(1));
    }
}
