//! What must hold, whatever goes wrong.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use warren_core::{
    id::AgentId,
    state::{GroupState, Revision},
};

use crate::ProposeError;

/// Hears of every edit and of everything that members show.
#[derive(Debug, Default)]
pub(super) struct Oracle(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    edits: BTreeMap<u64, Outcome>,
    /// Which edit made each revision, by the first member that showed it.
    history: BTreeMap<Revision, u64>,
    leaders: BTreeMap<u64, AgentId>,
    reads: u64,
    stormy: Option<bool>,
    violation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Under way, or its caller died.
    Open,
    Acknowledged(Revision),
    /// Refused for good: it must never show.
    Refused,
    /// It may or may not show.
    Unknown,
}

impl Book {
    fn wrong(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn acknowledged(&self) -> impl Iterator<Item = (u64, Revision)> {
        self.edits.iter().filter_map(|(edit, outcome)| match outcome {
            Outcome::Acknowledged(revision) => Some((*edit, *revision)),
            _ => None,
        })
    }
}

impl Oracle {
    /// Number of a new edit; every one sets something that was never set before.
    pub(super) fn begin(&self) -> u64 {
        let mut book = self.book();
        let edit = book.edits.len() as u64 + 1;
        book.edits.insert(edit, Outcome::Open);
        edit
    }

    pub(super) fn ended(&self, edit: u64, answer: &Result<Revision, ProposeError>) {
        let outcome = match answer {
            Ok(revision) => Outcome::Acknowledged(*revision),
            Err(error) if error.may_still_be_applied() => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        self.book().edits.insert(edit, outcome);
    }

    pub(super) fn refused(&self, edit: u64, why: &str) {
        self.book().wrong(format!("edit {edit} was refused: {why}"));
    }

    /// What a read that begins now must show at least.
    pub(super) fn floor(&self) -> Revision {
        self.book().acknowledged().map(|(_, revision)| revision).max().unwrap_or(0)
    }

    pub(super) fn read(&self, floor: Revision, found: Revision) {
        let mut book = self.book();
        book.reads += 1;
        if found < floor {
            book.wrong(format!("a read found revision {found}, and {floor} had been acknowledged before it"));
        }
    }

    pub(super) fn leads(&self, term: u64, leader: AgentId) {
        let mut book = self.book();
        let first = *book.leaders.entry(term).or_insert(leader);
        if first != leader {
            book.wrong(format!("{first} and {leader} lead in term {term}"));
        }
    }

    /// A member shows this state. Those of all members are prefixes of one history, in which each edit is once.
    pub(super) fn shows(&self, member: AgentId, state: &GroupState) {
        let mut book = self.book();
        for entry in &state.history {
            let Ok(edit) = entry.author.parse() else { continue };
            let revision = entry.revision;
            match book.history.insert(revision, edit) {
                Some(known) if known != edit => {
                    book.wrong(format!("revision {revision} is edit {known}, and {edit} at {member}"));
                }
                Some(_) => {}
                None => {
                    if let Some((other, _)) =
                        book.history.iter().find(|(other, made)| **made == edit && **other != revision)
                    {
                        let told = format!("edit {edit} made revisions {other} and {revision}");
                        book.wrong(told);
                    }
                }
            }
        }
    }

    /// From here on edits must get through.
    pub(super) fn end_of_storm(&self) {
        self.book().stormy = Some(true);
    }

    /// An edit of after the storm was acknowledged.
    pub(super) fn recovered(&self) {
        let mut book = self.book();
        if book.stormy == Some(true) {
            book.stormy = Some(false);
        }
    }

    /// Whether the storm is over.
    pub(super) fn is_calm(&self) -> bool {
        self.book().stormy.is_some()
    }

    /// Whether new edits should still be made.
    pub(super) fn wants_edits(&self) -> bool {
        self.book().stormy != Some(false)
    }

    pub(super) fn settled(&self) -> bool {
        !self.wants_edits()
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.book().violation.clone()
    }

    pub(super) fn shown(&self) -> String {
        let book = self.book();
        format!(
            "{} edits, {} revisions, terms {:?}",
            book.edits.len(),
            book.history.len(),
            book.leaders.keys()
        )
    }

    /// At the end, with the state that all members have.
    pub(super) fn judge(&self, state: &GroupState) -> Result<String, String> {
        let book = self.book();
        let made: BTreeMap<u64, Revision> =
            book.history.iter().map(|(revision, edit)| (*edit, *revision)).collect();
        for (edit, revision) in book.acknowledged() {
            if made.get(&edit) != Some(&revision) {
                let found = made.get(&edit);
                return Err(format!("edit {edit} was acknowledged as revision {revision}, and is {found:?}"));
            }
        }
        let refused = book.edits.iter().filter(|(_, outcome)| **outcome == Outcome::Refused);
        if let Some((edit, _)) = refused.clone().find(|(edit, _)| made.contains_key(*edit)) {
            return Err(format!("edit {edit} was refused for good, and is revision {}", made[edit]));
        }
        if state.revision != book.history.last_key_value().map_or(0, |(revision, _)| *revision) {
            return Err(format!("the state ends at revision {}", state.revision));
        }
        let acknowledged = book.acknowledged().count();
        Ok(format!(
            "{acknowledged} of {} edits acknowledged, {} refused, {} reads, {} terms",
            book.edits.len(),
            refused.count(),
            book.reads,
            book.leaders.len()
        ))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }
}
