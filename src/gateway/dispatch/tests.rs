use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_tunnel::{CloseReason, Incoming};

use super::*;
use crate::{
    metrics::SessionMeters,
    sessions::{SessionFilter, SessionRecord},
    testing::*,
};

struct Bench {
    registry: Registry,
    sessions: SessionLog,
    dispatcher: Dispatcher,
}

impl Bench {
    fn new() -> Self {
        let (registry, sessions) = (Registry::default(), SessionLog::default());
        let limits = DispatchLimits { wait_for_member: Duration::from_millis(400), ..Default::default() };
        let dispatcher = Dispatcher::new(
            registry.clone(),
            Default::default(),
            sessions.clone(),
            limits,
            Default::default(),
        );
        Self { registry, sessions, dispatcher }
    }

    /// A group whose members serve as told, and which has the resource `db`.
    async fn of(members: &[fn(Incoming)]) -> (Self, Vec<Connected>) {
        let bench = Self::new();
        let ids: Vec<u64> = (1..=members.len() as u64).collect();
        let mut connected = Vec::new();
        for (id, serve) in ids.iter().zip(members) {
            let member = connect(&bench.registry, *id, *serve).await;
            bench.registry.observe(&member.tunnel, snapshot(*id, &ids, &["db"]));
            connected.push(member);
        }
        (bench, connected)
    }

    async fn call(&self) -> TcpStream {
        let (near, accepted) = caller().await;
        let (wanted, meters) =
            (Wanted { group: group(), resource: name("db") }, SessionMeters::of("site".into()));
        let from = accepted.peer_addr().unwrap();
        self.dispatcher.take(accepted, from, wanted, meters);
        near
    }

    /// The record of the only session, once it has ended.
    async fn record(&self) -> SessionRecord {
        until("the session ends", || self.sessions.open_total() == 0).await;
        self.sessions.get(1).unwrap()
    }
}

async fn say(mut caller: TcpStream, text: &str) -> std::io::Result<String> {
    caller.write_all(text.as_bytes()).await?;
    caller.shutdown().await?;
    let mut heard = String::new();
    caller.read_to_string(&mut heard).await?;
    Ok(heard)
}

fn results(record: &SessionRecord) -> Vec<&'static str> {
    record.attempts.iter().map(|attempt| attempt.result).collect()
}

#[tokio::test]
async fn a_caller_is_carried_and_recorded() {
    let (bench, _members) = Bench::of(&[echoing]).await;
    assert_eq!(say(bench.call().await, "hello").await.unwrap(), "hello");
    let record = bench.record().await;
    assert_eq!((record.outcome, record.bytes_up, record.bytes_down), (Outcome::Closed, 5, 5));
    assert_eq!((record.member, record.member_name.as_str()), (Some(agent(1)), "a1"));
    assert_eq!((record.attempts[0].rule.as_str(), results(&record)), ("only", vec!["ok"]));
    let in_flight = bench.registry.group(group()).unwrap().members[&agent(1)].sessions;
    assert_eq!(in_flight, 0);
}

/// Takes what the caller says first, then refuses.
fn busy(incoming: Incoming) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        incoming.refuse(OpenResult::Busy, "full");
    });
}

#[tokio::test]
async fn the_next_member_gets_the_same_first_bytes() {
    let (bench, _members) = Bench::of(&[busy, busy, echoing]).await;
    // Whichever comes first, at most two refuse.
    assert_eq!(say(bench.call().await, "first words").await.unwrap(), "first words");
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Closed);
    assert_eq!(record.member, Some(agent(3)));
    assert_eq!(record.bytes_up, 11, "each byte once");
}

#[tokio::test]
async fn after_three_tries_the_caller_is_reset() {
    let (bench, _members) = Bench::of(&[busy, busy, busy, busy]).await;
    let error = say(bench.call().await, "hello").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(results(&record), ["busy", "busy", "busy"]);
    let one_by_one = record.attempts.windows(2).all(|two| two[1].after >= two[0].after + two[0].took);
    assert!(one_by_one, "{:?}", record.attempts);
    assert_eq!(record.outcome.as_str(), "busy");
}

fn denied(incoming: Incoming) {
    incoming.refuse(OpenResult::Denied, "by the site's rules");
}

#[tokio::test]
async fn what_is_denied_is_not_asked_of_the_next() {
    let (bench, _members) = Bench::of(&[denied, denied]).await;
    assert!(say(bench.call().await, "hello").await.is_err());
    assert_eq!(results(&bench.record().await), ["denied"]);
}

static LOST: AtomicUsize = AtomicUsize::new(0);

/// Never answers.
fn silent(incoming: Incoming) {
    LOST.fetch_add(1, Relaxed);
    tokio::spawn(async move {
        incoming.cancelled().await;
        drop(incoming);
    });
}

#[tokio::test]
async fn a_tunnel_lost_with_bytes_on_their_way_is_no_reason_to_say_them_again() {
    let (bench, members) = Bench::of(&[silent]).await;
    let mut caller = bench.call().await;
    caller.write_all(b"pay 100").await.unwrap();
    until("the open is asked", || members[0].far.stats().sessions == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let other = connect(&bench.registry, 2, echoing).await;
    bench.registry.observe(&other.tunnel, snapshot(2, &[1, 2], &["db"]));
    members[0].far.close(CloseReason::Shutdown, "killed");
    let error = say(caller, "").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(results(&record), ["tunnel_lost"]);
    assert_eq!((record.member, record.member_name.as_str()), (Some(agent(1)), "a1"));
}

#[tokio::test]
async fn a_tunnel_lost_before_the_caller_said_anything_costs_nothing() {
    let (bench, members) = Bench::of(&[silent]).await;
    let caller = bench.call().await;
    until("the open is asked", || members[0].far.stats().sessions == 1).await;
    let other = connect(&bench.registry, 2, echoing).await;
    bench.registry.observe(&other.tunnel, snapshot(2, &[1, 2], &["db"]));
    members[0].far.close(CloseReason::Shutdown, "killed");
    assert_eq!(say(caller, "hello").await.unwrap(), "hello");
    assert_eq!(results(&bench.record().await), ["tunnel_lost", "ok"]);
}

#[tokio::test]
async fn a_session_is_cut_with_its_tunnel_and_the_caller_sees_an_error() {
    let (bench, members) = Bench::of(&[echoing]).await;
    let mut caller = bench.call().await;
    caller.write_all(b"x").await.unwrap();
    caller.read_u8().await.unwrap();
    members[0].far.close(CloseReason::Shutdown, "killed");
    assert_eq!(caller.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Cut(ResetReason::TunnelLost));
}

#[tokio::test]
async fn a_caller_waits_a_while_for_a_member() {
    let bench = Bench::new();
    let caller = bench.call().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let member = connect(&bench.registry, 1, echoing).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    assert_eq!(say(caller, "hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn with_nobody_there_the_caller_is_reset_after_the_wait() {
    let bench = Bench::new();
    assert!(say(bench.call().await, "hello").await.is_err());
    assert_eq!(bench.record().await.outcome.as_str(), "no_member");
    let (bench, _members) = Bench::of(&[echoing]).await;
    let (near, accepted) = caller().await;
    let from = accepted.peer_addr().unwrap();
    let wanted = Wanted { group: group(), resource: name("nothing") };
    bench.dispatcher.take(accepted, from, wanted, SessionMeters::of("site".into()));
    assert!(say(near, "hello").await.is_err());
    assert_eq!(bench.record().await.outcome.as_str(), "unknown_resource");
}

fn refused(incoming: Incoming) {
    incoming.refuse(OpenResult::Refused, "connection refused");
}

#[tokio::test]
async fn a_target_that_refuses_through_everybody_ejects_nobody() {
    let (bench, _members) = Bench::of(&[refused, refused]).await;
    for _ in 0..20 {
        assert!(say(bench.call().await, "hello").await.is_err());
    }
    until("all sessions end", || bench.sessions.open_total() == 0).await;
    let (records, _) = bench.sessions.list(&SessionFilter { ended: true, limit: 99, ..Default::default() });
    let candidates = records.iter().flat_map(|record| &record.attempts[0].candidates);
    assert!(
        candidates.clone().count() == 40 && candidates.clone().all(|candidate| candidate.excluded.is_none())
    );
    assert!(records.iter().all(|record| results(record) == ["refused", "refused"]));
}

#[tokio::test]
async fn a_member_that_alone_cannot_reach_the_target_is_left_alone_for_it() {
    let (bench, _members) = Bench::of(&[refused, echoing]).await;
    let mut left_alone = false;
    for _ in 0..200 {
        assert_eq!(say(bench.call().await, "hello").await.unwrap(), "hello", "nobody notices");
        until("the session ends", || bench.sessions.open_total() == 0).await;
        let (records, _) =
            bench.sessions.list(&SessionFilter { ended: true, limit: 1, ..Default::default() });
        let out = |record: &SessionRecord| {
            let first = &record.attempts[0].candidates[0];
            first.excluded == Some(warren_core::balance::Exclusion::Unreachable)
        };
        if records.iter().any(out) {
            left_alone = true;
            break;
        }
    }
    assert!(left_alone);
    let ejected = bench.registry.entry(group()).ejected(Instant::now());
    assert_eq!(ejected, [], "other resources may still be reached through it");
}

#[tokio::test]
async fn a_caller_above_the_limit_is_reset_at_once() {
    let (bench, _members) = Bench::of(&[echoing]).await;
    let limits = DispatchLimits { sessions_max: 1, ..Default::default() };
    let bench = Bench {
        dispatcher: Dispatcher::new(
            bench.registry.clone(),
            Default::default(),
            bench.sessions.clone(),
            limits,
            Default::default(),
        ),
        ..bench
    };
    let _first = bench.call().await;
    assert!(say(bench.call().await, "hello").await.is_err());
    assert_eq!(bench.sessions.get(2).unwrap().outcome.as_str(), "gateway_full");
}
