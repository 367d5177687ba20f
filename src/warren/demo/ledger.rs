//! The books: what callers saw, and which member the gateway says carried each session.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use warren_wire::v1;

use super::{
    caller::Failed,
    report::{millis, unix_ms},
};

/// Shared by all callers.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    opened: u64,
    failures: Vec<Failure>,
    /// The gateway's records, by session id.
    records: BTreeMap<String, Record>,
}

#[derive(Debug)]
struct Failure {
    began: Instant,
    /// The same by the clock that the gateway's records go by.
    began_ms: u64,
    ended: Instant,
    failed: Failed,
    /// Whether the session had been open before.
    was_open: bool,
}

#[derive(Debug)]
struct Record {
    caller: String,
    /// Who carried it; empty when nobody took it.
    member: String,
    /// Who was asked last.
    tried: String,
    opened_ms: u64,
}

/// The kill, as far as it excuses failures.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    pub(super) member: String,
    /// When the process was gone. Whoever began later has nothing to do with it.
    pub(super) gone: Instant,
}

/// What it all came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) failed_open: u64,
    pub(super) cut_by_kill: u64,
    /// Why, for each that the kill does not excuse.
    pub(super) unexcused: Vec<String>,
}

impl Ledger {
    pub(super) fn opened(&self) {
        self.books().opened += 1;
    }

    /// Counts that have been opened so far.
    pub(super) fn opened_so_far(&self) -> u64 {
        self.books().opened
    }

    /// A session that could not be opened, or that broke after it `was_open`.
    pub(super) fn failed(&self, began: Instant, failed: Failed, was_open: bool) {
        let began_ms = unix_ms().saturating_sub(millis(began.elapsed()));
        self.books().failures.push(Failure { began, began_ms, ended: Instant::now(), failed, was_open });
    }

    /// Takes over what the gateway says of its sessions.
    pub(super) fn record(&self, sessions: Vec<v1::Session>) {
        let mut books = self.books();
        for session in sessions {
            let v1::Session { id, caller, member: tried, opened_ms, attempts, .. } = session;
            // The gateway names whom it tried last; only an ok of that one means that it carried the session.
            let carried = attempts.last().is_some_and(|attempt| attempt.result == "ok");
            let member = if carried { tried.clone() } else { String::new() };
            books.records.insert(id, Record { caller, member, tried, opened_ms });
        }
    }

    /// How many sessions each member has carried.
    pub(super) fn spread(&self) -> BTreeMap<String, u64> {
        let mut spread = BTreeMap::new();
        for record in self.books().records.values().filter(|record| !record.member.is_empty()) {
            *spread.entry(record.member.clone()).or_default() += 1;
        }
        spread
    }

    /// When, by the gateway's clock, `member` first took a session at or after `since_ms`.
    pub(super) fn first_of(&self, member: &str, since_ms: u64) -> Option<u64> {
        let books = self.books();
        let later =
            books.records.values().filter(|record| record.member == member && record.opened_ms >= since_ms);
        later.map(|record| record.opened_ms).min()
    }

    /// A failure counts as cut by the kill only if its caller began before the process was gone and the gateway's
    /// record says that the killed member had it, or was being asked to take it. Every other one is a failed open, also when it broke later.
    pub(super) fn totals(&self, kill: Option<&Kill>) -> Totals {
        let books = self.books();
        let mut totals = Totals { opened: books.opened, ..Totals::default() };
        for failure in &books.failures {
            if kill.is_some_and(|kill| books.excuses(kill, failure)) {
                totals.cut_by_kill += 1;
            } else {
                totals.failed_open += 1;
                totals.unexcused.push(books.tell(failure, kill));
            }
        }
        totals
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The gateway's record of a failed caller.
    fn record_of(&self, failure: &Failure) -> Option<&Record> {
        let caller = failure.failed.caller?.to_string();
        // Ports come round again: of the callers with this address, the one of that time is meant.
        let records = self.records.values().filter(|record| record.caller == caller);
        records.min_by_key(|record| record.opened_ms.abs_diff(failure.began_ms))
    }

    fn excuses(&self, kill: &Kill, failure: &Failure) -> bool {
        failure.began <= kill.gone
            && self.record_of(failure).is_some_and(|record| record.tried == kill.member)
    }

    fn tell(&self, failure: &Failure, kill: Option<&Kill>) -> String {
        let what = if failure.was_open { "broke" } else { "could not be opened" };
        let on = self.record_of(failure).map_or_else(|| "no member".into(), |record| record.tried.clone());
        let since = |at: Instant, kill: &Kill| match at.checked_duration_since(kill.gone) {
            Some(after) => format!("{} ms after the kill", millis(after)),
            None => format!("{} ms before the kill", millis(kill.gone - at)),
        };
        let when = kill.map_or_else(String::new, |kill| {
            format!(", begun {}, ended {}", since(failure.began, kill), since(failure.ended, kill))
        });
        format!("a session on {on} {what}{when}: {}", failure.failed.why)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::*;

    fn session(id: u32, port: u16, member: &str, opened_ms: u64) -> v1::Session {
        let caller = format!("127.0.0.1:{port}");
        let attempts = vec![attempt(member, "ok")];
        v1::Session {
            id: id.to_string(),
            caller,
            member: member.into(),
            opened_ms,
            attempts,
            ..Default::default()
        }
    }

    fn attempt(chosen: &str, result: &str) -> v1::Attempt {
        v1::Attempt { chosen: chosen.into(), result: result.into(), ..Default::default() }
    }

    fn failed(port: u16) -> Failed {
        Failed { caller: Some(([127, 0, 0, 1], port).into()), why: io::ErrorKind::ConnectionReset.into() }
    }

    #[test]
    fn only_the_killed_members_own_sessions_are_excused() {
        let (ledger, began) = (Ledger::default(), Instant::now());
        let now = unix_ms();
        // The address of the first one was another caller's before.
        ledger.record(vec![session(9, 10, "b", now - 60_000), session(1, 10, "a", now)]);
        ledger.record(vec![session(2, 11, "b", now), session(3, 12, "a", now)]);
        let kill = Kill { member: "a".into(), gone: began + Duration::from_millis(5) };
        let later = began + Duration::from_millis(6);
        ledger.failed(began, failed(10), true);
        ledger.failed(began, failed(11), true);
        ledger.failed(later, failed(12), false);
        ledger.failed(began, failed(99), false);
        ledger.opened();
        let totals = ledger.totals(Some(&kill));
        assert_eq!((totals.opened, totals.cut_by_kill, totals.failed_open), (1, 1, 3));
        let told = &totals.unexcused[0];
        assert!(told.starts_with("a session on b broke, begun 5 ms before the kill, ended "), "{told}");
        assert!(totals.unexcused[2].starts_with("a session on no member could not be opened"));
        assert_eq!(ledger.totals(None).failed_open, 4);
    }

    #[test]
    fn a_session_that_was_only_tried_on_the_killed_member_is_excused_but_not_carried() {
        let (ledger, began) = (Ledger::default(), Instant::now());
        let mut tried = session(1, 10, "a", 5);
        tried.attempts = vec![attempt("b", "refused"), attempt("a", "tunnel_lost")];
        ledger.record(vec![tried]);
        ledger.failed(began, failed(10), false);
        let kill = Kill { member: "a".into(), gone: began };
        assert_eq!(ledger.totals(Some(&kill)).cut_by_kill, 1);
        assert!(ledger.spread().is_empty() && ledger.first_of("a", 0).is_none());
    }

    #[test]
    fn the_first_session_after_a_moment_is_found() {
        let ledger = Ledger::default();
        ledger.record(vec![session(1, 10, "a", 5), session(2, 11, "a", 20), session(3, 12, "a", 15)]);
        assert_eq!(ledger.first_of("a", 6), Some(15));
        assert_eq!(ledger.first_of("a", 21), None);
        assert_eq!(ledger.first_of("b", 0), None);
    }
}
