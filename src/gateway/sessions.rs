//! A record of every session: who called, who carried it, how that was decided and how it ended.
//!
//! Open sessions are all kept; of those that have ended, the latest [`ENDED_MAX`].

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use warren_core::{
    id::{AgentId, GroupId, Name},
    trace::{SpanId, TraceId},
};

use crate::{metrics::SessionMeters, spans::Spans};

mod entry;
mod live;
mod outcome;
mod record;

pub(crate) use entry::Entry;
pub use outcome::{Failure, Outcome};
pub use record::{Attempt, SessionRecord};

use live::Live;

/// How many ended sessions are remembered.
pub const ENDED_MAX: usize = 10_000;

/// Which sessions are asked for; `None` means any.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    pub group: Option<GroupId>,
    pub resource: Option<Name>,
    pub member: Option<AgentId>,
    /// Also those that have ended.
    pub ended: bool,
    /// At most so many.
    pub limit: usize,
}

impl SessionFilter {
    fn takes(&self, record: &SessionRecord) -> bool {
        self.group.is_none_or(|group| group == record.group)
            && self.resource.as_ref().is_none_or(|resource| *resource == record.resource)
            && self.member.is_none_or(|member| record.member == Some(member))
    }
}

/// The sessions of this gateway process.
#[derive(Debug, Clone, Default)]
pub struct SessionLog {
    log: Arc<Mutex<Log>>,
    spans: Spans,
}

#[derive(Debug, Default)]
struct Log {
    last: u64,
    open: BTreeMap<u64, Live>,
    /// How many of those are of callers of this gateway.
    own: usize,
    ended: VecDeque<Box<SessionRecord>>,
}

impl SessionLog {
    pub(crate) fn new(spans: Spans) -> Self {
        Self { log: Arc::default(), spans }
    }

    /// Newest first, open ones before ended ones; and how many callers of this gateway have one open.
    pub fn list(&self, filter: &SessionFilter) -> (Vec<SessionRecord>, usize) {
        let log = self.lock();
        let open = log.open.values().rev().filter(|live| filter.takes(&live.record)).map(Live::now);
        let ended = log.ended.iter().rev().filter(|record| filter.ended && filter.takes(record));
        let records = open.chain(ended.map(|record| (**record).clone())).take(filter.limit).collect();
        (records, log.own)
    }

    pub fn get(&self, id: u64) -> Option<SessionRecord> {
        let log = self.lock();
        let ended = || log.ended.iter().find(|record| record.id == id).map(|record| (**record).clone());
        log.open.get(&id).map(Live::now).or_else(ended)
    }

    /// The newest of that trace. A gateway has more than one when another one asked it again.
    pub fn of_trace(&self, trace: TraceId) -> Option<SessionRecord> {
        let log = self.lock();
        let open = log.open.values().rev().find(|live| live.record.trace == trace.0).map(Live::now);
        let ended = || log.ended.iter().rev().find(|record| record.trace == trace.0);
        open.or_else(|| ended().map(|record| (**record).clone()))
    }

    /// Sessions that are open or being opened.
    pub fn open_total(&self) -> usize {
        self.lock().open.len()
    }

    /// Adds what the open sessions carried since the last time to the metrics; returns how many each group has.
    pub(crate) fn count(&self) -> BTreeMap<GroupId, OpenSessions> {
        let mut log = self.lock();
        let mut open: BTreeMap<_, OpenSessions> = BTreeMap::new();
        for live in log.open.values_mut() {
            live.count();
            let open = open.entry(live.record.group).or_default();
            *if live.is_own() { &mut open.own } else { &mut open.guests } += 1;
        }
        open
    }

    /// Begins the record of a caller that has just connected.
    pub(crate) fn begin(
        &self,
        wanted: &Wanted,
        meters: &Arc<SessionMeters>,
        caller: SocketAddr,
        trace: [u8; 16],
    ) -> Entry {
        let of = Of { label: meters.label.clone(), meters: Some(meters.clone()), asked: None };
        let entry = self.draft(wanted, of, caller, trace);
        entry.show();
        entry
    }

    /// The same for a caller of another gateway. It is shown once it is tried on a member: the other gateway shows it, and asks
    /// again and again while there is none. Nor is it counted here. `asked` is what the other gateway's spans call its question.
    pub(crate) fn begin_guest(
        &self,
        wanted: &Wanted,
        label: Arc<str>,
        caller: SocketAddr,
        (trace, asked): ([u8; 16], SpanId),
    ) -> Entry {
        self.draft(wanted, Of { label, meters: None, asked: Some(asked) }, caller, trace)
    }

    fn draft(
        &self,
        wanted: &Wanted,
        Of { label, meters, asked }: Of,
        caller: SocketAddr,
        trace: [u8; 16],
    ) -> Entry {
        let id = {
            let mut log = self.lock();
            log.last += 1;
            log.last
        };
        let record = Box::new(SessionRecord {
            id,
            group: wanted.group,
            resource: wanted.resource.clone(),
            caller,
            member: None,
            member_name: String::new(),
            opened: SystemTime::now(),
            closed: None,
            bytes_up: 0,
            bytes_down: 0,
            outcome: Outcome::Open,
            detail: String::new(),
            attempts: Vec::new(),
            trace,
        });
        let live = Live { record, meters, meter: None, label, asked, counted: (0, 0) };
        Entry { log: self.clone(), id, trace, draft: Mutex::new(Some(live)) }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller wants reached.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) group: GroupId,
    pub(crate) resource: Name,
}

/// Whose session it is.
struct Of {
    /// What its group is called.
    label: Arc<str>,
    /// Absent for a caller of another gateway.
    meters: Option<Arc<SessionMeters>>,
    /// What that gateway asked.
    asked: Option<SpanId>,
}

/// Sessions of one group that are open or being opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenSessions {
    /// Of callers that came to this gateway.
    pub(crate) own: usize,
    /// Of callers that came to another one.
    pub(crate) guests: usize,
}

#[cfg(test)]
mod tests;
