//! What the gateway says all along: its record of each session, and how the group's members are.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    GROUP, Site,
    rpc::{
        Failure, Rpc,
        admin::{Attempt, GroupState, GroupStatus, ListSessions, MemberState, Session, Sessions},
    },
    wait,
};

const EVERY: Duration = Duration::from_secs(1);
const CALL_MAX: Duration = Duration::from_secs(4);
/// More than begin between two looks.
const LIST_MAX: u32 = 600;
/// A caller's port may be used again, but not so soon.
const SAME_TIME: Duration = Duration::from_secs(2);

/// Looks again and again until it is dropped.
#[derive(Debug)]
pub(super) struct Records {
    shared: Arc<Shared>,
    looking: Option<thread::JoinHandle<()>>,
}

/// The gateway's record of a session; times since the start.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) resource: String,
    /// Agent id of the member that it was tried on last.
    pub(super) member: String,
    /// When its caller came,
    pub(super) begun: Duration,
    /// and when that member was tried.
    pub(super) tried: Duration,
    pub(super) outcome: String,
    pub(super) detail: String,
}

/// How the members were at a moment, as the gateway saw it: which had a tunnel, and which people had taken out.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) at: Duration,
    pub(super) with_tunnel: Vec<String>,
    pub(super) out: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    start_ms: u64,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the caller's address, and the record's own time.
    sessions: BTreeMap<(String, u64), Record>,
    looks: Vec<Look>,
}

impl Records {
    pub(super) fn start(site: &Site, start: Instant) -> Self {
        let start_ms = unix_ms().saturating_sub(u64::try_from(start.elapsed().as_millis()).unwrap_or(0));
        let shared =
            Arc::new(Shared { start, start_ms, stop: AtomicBool::new(false), state: Mutex::default() });
        let admin = site.admin();
        let looking = thread::spawn({
            let shared = shared.clone();
            move || {
                while !shared.stop.load(SeqCst) {
                    // A gateway that is away is asked again soon.
                    let _ = shared.look(&admin);
                    wait::until(Instant::now() + EVERY);
                }
            }
        });
        Self { shared, looking: Some(looking) }
    }

    /// The record of a caller's session.
    pub(super) fn of(&self, local: SocketAddr, begun: Duration) -> Option<Record> {
        let state = self.shared.lock();
        let of_caller = state.sessions.range((local.to_string(), 0)..=(local.to_string(), u64::MAX));
        let near =
            of_caller.map(|(_, record)| record).filter(|record| record.begun.abs_diff(begun) < SAME_TIME);
        near.min_by_key(|record| record.begun.abs_diff(begun)).cloned()
    }

    /// All records.
    pub(super) fn all(&self) -> Vec<Record> {
        self.shared.lock().sessions.values().cloned().collect()
    }

    pub(super) fn looks(&self) -> Vec<Look> {
        self.shared.lock().looks.clone()
    }

    /// The members that have been given a session of the resource since then.
    pub(super) fn carriers(&self, resource: &str, since: Duration) -> Vec<String> {
        let state = self.shared.lock();
        let recent = state.sessions.values().filter(|one| one.begun >= since && one.resource == resource);
        let mut members: Vec<_> = recent.map(|record| record.member.clone()).collect();
        members.sort();
        members.dedup();
        members
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

impl Shared {
    fn look(&self, admin: &Rpc) -> Result<(), Failure> {
        let list = ListSessions { group: GROUP.to_owned(), all: true, limit: LIST_MAX };
        let sessions: Sessions = admin.call("Sessions/List", list, CALL_MAX)?;
        let status: GroupState =
            admin.call("Groups/Status", GroupStatus { group: GROUP.to_owned() }, CALL_MAX)?;
        let those = |are: &dyn Fn(&MemberState) -> bool| {
            status.members.iter().filter(|member| are(member)).map(|member| member.id.clone()).collect()
        };
        let look = Look {
            at: self.start.elapsed(),
            with_tunnel: those(&|member| member.tunnels > 0),
            out: those(&|member| ["Draining", "Disabled"].contains(&&*member.status)),
        };
        let mut state = self.lock();
        state.looks.push(look);
        for session in sessions.sessions {
            let key = (session.caller.clone(), session.opened_ms);
            let record = self.read(session);
            state.sessions.insert(key, record);
        }
        Ok(())
    }

    fn read(&self, session: Session) -> Record {
        let Session { resource, member, opened_ms, outcome, detail, attempts, .. } = session;
        let begun = Duration::from_millis(opened_ms.saturating_sub(self.start_ms));
        let tried = begun + tried_after(&member, &attempts);
        Record { resource, member, begun, tried, outcome, detail }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long after its caller came a session's last member was tried; a try that has no answer yet is none of the attempts, and
/// began behind all of them.
fn tried_after(member: &str, attempts: &[Attempt]) -> Duration {
    let Some(last) = attempts.last() else { return Duration::ZERO };
    let answered = last.chosen == member;
    Duration::from_micros(if answered { last.after_us } else { last.after_us + last.took_us })
}
