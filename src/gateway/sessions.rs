//! A record of every session: who called, who carried it, how that was decided and how it ended.
//!
//! Open sessions are all kept; of those that have ended, the latest [`ENDED_MAX`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use warren_core::{
    balance::{CandidateRecord, Rule},
    id::{AgentId, GatewayId, GroupId, Name},
    trace::{SpanId, TraceId},
};
use warren_tunnel::{Meter, OpenResult, ResetReason};

use crate::{
    metrics::{self, SessionMeters},
    spans::{PassedOn, Spans, Story},
};

/// How many ended sessions are remembered.
pub const ENDED_MAX: usize = 10_000;

/// What is known of one session.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// Unique for the life of the gateway process.
    pub id: u64,
    pub group: GroupId,
    pub resource: Name,
    pub caller: SocketAddr,
    /// Who carries it, or was tried last; `None` when nobody was there to try.
    pub member: Option<AgentId>,
    /// Its name in the group; of a session that was passed on, the gateway that carries it.
    pub member_name: String,
    /// When its caller came.
    pub opened: SystemTime,
    /// `None` while it is open.
    pub closed: Option<SystemTime>,
    /// From the caller to the target.
    pub bytes_up: u64,
    /// From the target to the caller.
    pub bytes_down: u64,
    pub outcome: Outcome,
    /// More on the outcome, for people.
    pub detail: String,
    /// In order; the last is the one that counts.
    pub attempts: Vec<Attempt>,
    /// Goes along to the target's side.
    pub trace: [u8; 16],
}

/// One try to open a session on a member.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub candidates: Vec<CandidateRecord>,
    pub chosen: AgentId,
    pub rule: Rule,
    /// `ok`, or the typed result of the open.
    pub result: &'static str,
    /// It began so long after the caller had come.
    pub after: Duration,
    pub took: Duration,
    /// What the session is called in the member's tunnels; `None` when there was no tunnel to ask on.
    pub number: Option<u64>,
}

/// How a session stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// Both directions came to their end.
    Closed,
    /// It was open, and was cut.
    Cut(ResetReason),
    /// No member got it through to the target.
    NotOpened(Failure),
}

/// Why a session was never open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The last member that was asked answered so.
    Answered(OpenResult),
    /// The tunnel broke while bytes of the caller were on their way: they may have reached the target.
    TunnelLost,
    /// The member did not answer in time.
    NoAnswer,
    /// No member has a tunnel, or none may take sessions.
    NoMember,
    /// The group has no such resource.
    UnknownResource,
    /// The caller went away first.
    CallerGone,
    /// The gateway holds as many sessions as it may.
    GatewayFull,
    /// The gateway stops.
    Stopping,
}

impl Failure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(OpenResult::Unknown) => "unknown_resource",
            Self::Answered(result) => result.as_str(),
            Self::TunnelLost => "tunnel_lost",
            Self::NoAnswer => "no_answer",
            Self::NoMember => "no_member",
            Self::UnknownResource => "unknown_resource",
            Self::CallerGone => "caller_gone",
            Self::GatewayFull => "gateway_full",
            Self::Stopping => "stopping",
        }
    }
}

impl Outcome {
    /// One word for metrics, the API and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => metrics::CLOSED,
            Self::Cut(reason) => reason.as_str(),
            Self::NotOpened(failure) => failure.as_str(),
        }
    }

    /// Every word with which a session may end.
    pub(crate) fn ends() -> BTreeSet<&'static str> {
        let refused = OpenResult::ALL.iter().filter(|result| **result != OpenResult::Ok);
        let failed = refused.map(|result| Failure::Answered(*result)).chain([
            Failure::TunnelLost,
            Failure::NoAnswer,
            Failure::NoMember,
            Failure::UnknownResource,
            Failure::CallerGone,
            Failure::GatewayFull,
            Failure::Stopping,
        ]);
        let cut = ResetReason::ALL.iter().map(|reason| Self::Cut(*reason));
        failed.map(Self::NotOpened).chain(cut).chain([Self::Closed]).map(Self::as_str).collect()
    }
}

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
    ended: VecDeque<Box<SessionRecord>>,
}

#[derive(Debug)]
struct Live {
    /// On the heap, so that it goes to the ended ones as it is.
    record: Box<SessionRecord>,
    /// Absent for a caller of another gateway, which counts it.
    meters: Option<Arc<SessionMeters>>,
    meter: Option<Arc<Meter>>,
    /// What its group is called.
    label: Arc<str>,
    /// The span of the gateway that passed its caller on.
    asked: Option<SpanId>,
    /// Bytes up and down that metrics have seen.
    counted: (u64, u64),
}

impl SessionLog {
    pub(crate) fn new(spans: Spans) -> Self {
        Self { log: Arc::default(), spans }
    }

    /// Newest first, open ones before ended ones; and how many are open in all.
    pub fn list(&self, filter: &SessionFilter) -> (Vec<SessionRecord>, usize) {
        let log = self.lock();
        let open = log.open.values().rev().filter(|live| filter.takes(&live.record)).map(Live::now);
        let ended = log.ended.iter().rev().filter(|record| filter.ended && filter.takes(record));
        let records = open.chain(ended.map(|record| (**record).clone())).take(filter.limit).collect();
        (records, log.open.len())
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
            *if live.meters.is_some() { &mut open.own } else { &mut open.guests } += 1;
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

/// The record of a session that goes on. Dropped without [`Entry::end`], the session counts as stopped by the gateway.
#[derive(Debug)]
pub(crate) struct Entry {
    log: SessionLog,
    id: u64,
    trace: [u8; 16],
    /// Until it is shown.
    draft: Mutex<Option<Live>>,
}

impl Entry {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The session is tried on `member`, called `name` in its group.
    pub(crate) fn tries(&self, member: AgentId, name: String) {
        self.show();
        if let Some(live) = self.log.lock().open.get_mut(&self.id) {
            live.record.member = Some(member);
            live.record.member_name = name;
        }
    }

    /// It came to nothing on the member that was tried last.
    pub(crate) fn attempted(&self, attempt: Attempt) {
        if let Some(live) = self.log.lock().open.get_mut(&self.id) {
            live.attempted(attempt);
        }
    }

    /// The session is open on the member that was tried last; `meter` counts its bytes from here on.
    pub(crate) fn carried(&self, attempt: Attempt, meter: Arc<Meter>) {
        self.opened(|live| {
            live.attempted(attempt);
            live.meter = Some(meter);
        });
    }

    /// The session is open on another gateway, which has the record of its member.
    pub(crate) fn passed_on(&self, gateway: GatewayId, meter: Arc<Meter>) {
        self.opened(|live| {
            (live.record.member, live.record.member_name) = (None, format!("at {gateway}"));
            live.meter = Some(meter);
        });
    }

    /// Another gateway was asked.
    pub(crate) fn asked(&self, asked: &PassedOn) {
        if self.log.spans.follows(self.trace) {
            self.log.spans.passed_on(TraceId(self.trace), self.id, asked);
        }
    }

    /// The session is open from here on, as `note` notes.
    fn opened(&self, note: impl FnOnce(&mut Live)) {
        let followed = self.log.spans.follows(self.trace);
        let mut log = self.log.lock();
        let Some(live) = log.open.get_mut(&self.id) else { return };
        note(live);
        let story = followed.then(|| live.story());
        drop(log);
        if let Some(story) = story {
            self.log.spans.opened(&story);
        }
    }

    pub(crate) fn end(self, outcome: Outcome, detail: String) {
        self.close(outcome, detail);
    }

    fn show(&self) {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(live) = draft {
            self.log.lock().open.insert(self.id, live);
        }
    }

    fn close(&self, outcome: Outcome, detail: String) {
        let closed = Some(SystemTime::now());
        let followed = self.log.spans.follows(self.trace);
        let mut log = self.log.lock();
        let Some(mut live) = log.open.remove(&self.id) else { return };
        live.count();
        (live.record.bytes_up, live.record.bytes_down) = live.carried();
        (live.record.closed, live.record.outcome, live.record.detail) = (closed, outcome, detail);
        let story = followed.then(|| live.story());
        let oldest = if log.ended.len() == ENDED_MAX { log.ended.pop_front() } else { None };
        log.ended.push_back(live.record);
        drop(log);
        if let Some(meters) = &live.meters {
            meters.ended(outcome.as_str());
        }
        if let Some(story) = story {
            if live.meter.is_none() {
                self.log.spans.opened(&story);
            }
            self.log.spans.ended(&story);
        }
        drop(oldest);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.close(Outcome::NotOpened(Failure::Stopping), "gateway stopped".to_owned());
    }
}

impl Live {
    fn attempted(&mut self, attempt: Attempt) {
        // Few sessions need a second.
        self.record.attempts.reserve_exact(1);
        self.record.attempts.push(attempt);
    }

    fn now(&self) -> SessionRecord {
        let (bytes_up, bytes_down) = self.carried();
        SessionRecord { bytes_up, bytes_down, ..(*self.record).clone() }
    }

    fn story(&self) -> Story {
        Story { record: (*self.record).clone(), group: self.label.clone(), asked: self.asked }
    }

    /// Bytes up and down so far.
    fn carried(&self) -> (u64, u64) {
        self.meter.as_ref().map_or((0, 0), |meter| (meter.sent(), meter.received()))
    }

    fn count(&mut self) {
        let (now, before) = (self.carried(), self.counted);
        if let Some(meters) = &self.meters {
            meters.carried(now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        }
        self.counted = now;
    }
}

impl SessionFilter {
    fn takes(&self, record: &SessionRecord) -> bool {
        self.group.is_none_or(|group| group == record.group)
            && self.resource.as_ref().is_none_or(|resource| *resource == record.resource)
            && self.member.is_none_or(|member| record.member == Some(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(log: &SessionLog) -> Entry {
        log.begin(&wanted(), &SessionMeters::of("g".into()), "127.0.0.1:9".parse().unwrap(), [0; 16])
    }

    fn begin_guest(log: &SessionLog) -> Entry {
        let (trace, caller) = (TraceId([7; 16]), "127.0.0.1:9".parse().unwrap());
        log.begin_guest(&wanted(), "g".into(), caller, (trace.0, SpanId::root(trace)))
    }

    fn wanted() -> Wanted {
        Wanted { group: GroupId::from_random(1), resource: "db".parse().unwrap() }
    }

    fn attempt() -> Attempt {
        let (candidates, chosen) = (Vec::new(), AgentId::from_random(2));
        Attempt {
            candidates,
            chosen,
            rule: Rule::Only,
            result: "ok",
            after: Duration::ZERO,
            took: Duration::ZERO,
            number: None,
        }
    }

    #[test]
    fn every_end_is_explained() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observe.md");
        let page = std::fs::read_to_string(page).unwrap();
        let ends = Outcome::ends();
        assert!(ends.contains("closed") && ends.contains("no_member") && !ends.contains("ok"), "{ends:?}");
        for end in ends {
            assert!(page.contains(&format!("`{end}`")), "docs/observe.md does not explain {end}");
        }
    }

    #[test]
    fn a_session_is_seen_while_open_and_after() {
        let log = SessionLog::default();
        let entry = begin(&log);
        entry.tries(AgentId::from_random(2), "a".into());
        entry.carried(attempt(), Arc::default());
        let filter = SessionFilter { limit: 10, ..Default::default() };
        let (open, total) = log.list(&filter);
        assert_eq!((open[0].member_name.as_str(), open[0].outcome, total), ("a", Outcome::Open, 1));
        let id = entry.id();
        entry.end(Outcome::Closed, String::new());
        assert!(log.list(&filter).0.is_empty());
        assert_eq!(log.list(&SessionFilter { ended: true, ..filter }).0.len(), 1);
        let ended = log.get(id).unwrap();
        assert_eq!((ended.outcome, ended.member_name.as_str()), (Outcome::Closed, "a"));
        assert!(ended.closed.is_some());
    }

    #[test]
    fn a_guest_is_shown_once_it_is_tried_on_a_member() {
        let log = SessionLog::default();
        let guest = || begin_guest(&log);
        for _ in 0..3 {
            guest().end(Outcome::NotOpened(Failure::NoMember), String::new());
        }
        let everything = SessionFilter { ended: true, limit: 10, ..Default::default() };
        assert_eq!((log.list(&everything).0.len(), log.open_total()), (0, 0));
        let (own, guest) = (begin(&log), guest());
        guest.tries(AgentId::from_random(2), "a".into());
        assert_eq!(log.count()[&wanted().group], OpenSessions { own: 1, guests: 1 });
        guest.end(Outcome::Closed, String::new());
        assert_eq!(log.list(&everything).0.len(), 2);
        assert_eq!(log.of_trace(TraceId([7; 16])).unwrap().member_name, "a");
        assert!(log.of_trace(TraceId([8; 16])).is_none());
        drop(own);
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let log = SessionLog::default();
        for _ in 0..ENDED_MAX + 5 {
            begin(&log).end(Outcome::Closed, String::new());
        }
        assert!(log.get(5).is_none());
        assert!(log.get(6).is_some());
        assert_eq!(log.open_total(), 0);
    }

    #[test]
    fn a_session_that_nobody_ended_does_not_stay_open() {
        let log = SessionLog::default();
        let id = begin(&log).id();
        assert_eq!(log.get(id).unwrap().outcome.as_str(), "stopping");
    }
}
