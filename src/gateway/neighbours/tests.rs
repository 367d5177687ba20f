//! Gateways on real tunnels over memory pipes; what TLS does is tested with the scenarios.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use warren_identity::{GatewayIdentity, Validity};
use warren_tunnel::{Budget, Config, Hello, Incoming, OpenResult};

use super::*;
use crate::{
    dispatch::{DispatchLimits, Dispatcher, Stages},
    metrics::SessionMeters,
    registry::Registry,
    sessions::{SessionLog, SessionRecord, Wanted},
    store::{GatewayRecord, Store},
    testing::*,
};

struct Gateway {
    id: GatewayId,
    store: Arc<dyn Store>,
    registry: Registry,
    sessions: SessionLog,
    neighbours: Neighbours,
    dispatcher: Dispatcher,
    stages: Stages,
    guests: Guests,
    _folder: tempfile::TempDir,
}

impl Gateway {
    async fn new(number: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let id = GatewayId::from_random(number);
        let (registry, sessions) = (Registry::default(), SessionLog::default());
        let (neighbours, stages) = (Neighbours::default(), Stages::default());
        let limits = DispatchLimits { wait_for_member: Duration::from_secs(2), ..Default::default() };
        let dispatcher =
            Dispatcher::new(registry.clone(), neighbours.clone(), sessions.clone(), limits, stages.clone());
        let ours = (id, Config::default(), Budget::new(1 << 30));
        let guests =
            Guests::new(store.clone(), registry.clone(), dispatcher.clone(), ours, stages.drain.clone());
        Self { id, store, registry, sessions, neighbours, dispatcher, stages, guests, _folder: folder }
    }

    /// What this one asks goes to `other`.
    async fn dials(&self, other: &Self) -> Handle {
        let (near, far) = tunnel(Hello::new(1, 1, 0));
        near.ready().await.unwrap();
        self.neighbours.seek();
        self.neighbours.up(other.id, near.clone());
        let guests = other.guests.clone();
        tokio::spawn(async move { guests.attend(&far, &Default::default()).await });
        near
    }

    /// An agent of the group, with the resource `db`.
    async fn has_agent(&self, serve: fn(Incoming)) -> Connected {
        let member = connect(&self.registry, 1, serve).await;
        self.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
        member
    }

    async fn call(&self) -> (TcpStream, SocketAddr) {
        let (near, accepted) = caller().await;
        let meters = SessionMeters::of("site".into());
        let wanted = Wanted { group: group(), resource: name("db") };
        let from = accepted.peer_addr().unwrap();
        self.dispatcher.take(accepted, from, wanted, meters);
        (near, from)
    }

    /// The record of a session, once it has ended.
    async fn record(&self, number: u64) -> SessionRecord {
        until("the session ends", || self.sessions.open_total() == 0 && self.sessions.get(number).is_some())
            .await;
        self.sessions.get(number).unwrap()
    }
}

/// What the target says to `text`; it speaks only when it is spoken to.
async fn say(mut caller: TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = caller.split();
    let mut heard = Vec::new();
    let ask = async {
        write.write_all(text).await?;
        write.shutdown().await
    };
    tokio::try_join!(ask, read.read_to_end(&mut heard))?;
    Ok(heard)
}

#[tokio::test]
async fn a_caller_reaches_its_target_through_the_gateway_that_has_its_group() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let _member = there.has_agent(echoing).await;
    let (caller, from) = here.call().await;
    let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).take(60_000).collect();
    assert!(say(caller, &text).await.unwrap() == text, "each byte once, in order");
    let (near, far) = (here.record(1).await, there.record(1).await);
    assert_eq!((near.member, near.member_name), (None, format!("at {}", there.id)));
    assert_eq!((near.outcome.as_str(), near.bytes_up, near.bytes_down), ("closed", 60_000, 60_000));
    assert_eq!((far.member, far.caller, far.trace), (Some(agent(1)), from, near.trace));
    assert_eq!((far.outcome.as_str(), far.bytes_up, far.bytes_down), ("closed", 60_000, 60_000));
}

#[tokio::test]
async fn whoever_has_a_member_asks_nobody() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let _members = (here.has_agent(echoing).await, there.has_agent(echoing).await);
    assert_eq!(say(here.call().await.0, b"hello").await.unwrap(), b"hello");
    assert_eq!(here.record(1).await.member, Some(agent(1)));
    assert!(there.sessions.get(1).is_none());
}

#[tokio::test]
async fn a_member_that_is_well_elsewhere_comes_before_one_here_that_is_not() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let member = here.has_agent(echoing).await;
    let mut down = snapshot(1, &[1], &["db"]);
    down.applied += 1;
    let verdict = warren_core::state::Verdict::Down;
    down.verdicts.entry((agent(1), name("db"))).or_default().verdict = verdict;
    here.registry.observe(&member.tunnel, down);
    let elsewhere = there.has_agent(echoing).await;
    assert_eq!(say(here.call().await.0, b"hello").await.unwrap(), b"hello");
    assert_eq!(here.record(1).await.member_name, format!("at {}", there.id));

    // With nobody elsewhere it is tried all the same.
    there.registry.remove(&elsewhere.tunnel);
    assert_eq!(say(here.call().await.0, b"hello").await.unwrap(), b"hello");
    assert_eq!(here.record(2).await.member, Some(agent(1)));
}

#[tokio::test]
async fn what_the_target_refused_our_member_is_not_asked_of_another_gateway() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let _members = (here.has_agent(refused).await, there.has_agent(refused).await);
    assert!(say(here.call().await.0, b"hello").await.is_err());
    assert_eq!(here.record(1).await.outcome.as_str(), "refused");
    assert!(there.sessions.get(1).is_none());
}

#[tokio::test]
async fn a_member_that_comes_to_another_gateway_meanwhile_is_found() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let (caller, _) = here.call().await;
    let heard = tokio::spawn(say(caller, b"hello"));
    until("it waits", || here.sessions.open_total() == 1).await;
    let _member = there.has_agent(echoing).await;
    assert_eq!(heard.await.unwrap().unwrap(), b"hello");
}

#[tokio::test]
async fn of_those_who_wait_for_a_member_one_asks_and_all_are_taken_once_one_is() {
    let here = Gateway::new(1).await;
    let (near, far) = tunnel(Hello::new(1, 1, 0));
    near.ready().await.unwrap();
    here.neighbours.seek();
    here.neighbours.up(GatewayId::from_random(2), near);
    let (asked, takes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counts, may) = (asked.clone(), takes.clone());
    tokio::spawn(async move {
        while let Some(incoming) = far.accept().await {
            counts.fetch_add(1, Relaxed);
            match may.load(Relaxed) {
                true => echoing(incoming),
                false => incoming.refuse(OpenResult::Busy, "nobody yet"),
            }
        }
    });
    let mut callers = Vec::new();
    for _ in 0..50 {
        callers.push(tokio::spawn(say(here.call().await.0, b"hello")));
    }
    until("it was asked again and again", || asked.load(Relaxed) >= 3).await;
    assert!(asked.load(Relaxed) < 10, "{asked:?} times for {} callers", callers.len());
    takes.store(true, Relaxed);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), b"hello");
    }
}

fn silent(incoming: Incoming) {
    tokio::spawn(async move { incoming.cancelled().await });
}

#[tokio::test]
async fn a_member_that_comes_here_is_taken_while_another_gateway_still_tries() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let _silent = there.has_agent(silent).await;
    let (caller, _) = here.call().await;
    let heard = tokio::spawn(say(caller, b"hello"));
    until("the other one tries", || there.sessions.open_total() == 1).await;
    let _member = here.has_agent(echoing).await;
    let heard = tokio::time::timeout(Duration::from_secs(2), heard).await.expect("it waits for the other");
    assert_eq!(heard.unwrap().unwrap(), b"hello");
    assert_eq!(here.record(1).await.member, Some(agent(1)));
}

#[tokio::test]
async fn a_caller_for_whom_nobody_has_a_member_is_passed_on_once_and_reset_in_the_end() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    there.dials(&here).await;
    assert!(say(here.call().await.0, b"hello").await.is_err());
    let record = here.record(1).await;
    assert_eq!(record.outcome.as_str(), "no_member");
    let answer = format!("{}: it answered busy: no agent of the group has a tunnel here", there.id);
    assert!(record.detail.ends_with(&answer), "{}", record.detail);
    assert!(here.sessions.get(2).is_none(), "it did not come back");
}

#[tokio::test]
async fn whoever_came_before_the_end_is_passed_on_and_whoever_waits_is_let_go_at_once() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let (caller, _) = here.call().await;
    until("it waits", || here.sessions.open_total() == 1).await;
    here.stages.drain.cancel();
    let begun = std::time::Instant::now();
    assert!(say(caller, b"hello").await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(here.record(1).await.outcome.as_str(), "stopping");

    let _member = there.has_agent(echoing).await;
    assert_eq!(say(here.call().await.0, b"hello").await.unwrap(), b"hello");
    tokio::time::timeout(Duration::from_secs(5), here.dispatcher.opened()).await.unwrap();
}

fn refused(incoming: Incoming) {
    incoming.refuse(OpenResult::Refused, "by the target");
}

#[tokio::test]
async fn what_the_target_refused_is_not_asked_of_a_third() {
    let (here, second, third) = (Gateway::new(1).await, Gateway::new(2).await, Gateway::new(3).await);
    here.dials(&second).await;
    here.dials(&third).await;
    here.neighbours.took(group(), second.id);
    let _members = (second.has_agent(refused).await, third.has_agent(echoing).await);
    assert!(say(here.call().await.0, b"hello").await.is_err());
    assert_eq!(here.record(1).await.outcome.as_str(), "refused");
    assert!(third.sessions.get(1).is_none());
}

#[tokio::test]
async fn who_took_the_last_is_asked_first_and_who_stops_is_not_asked() {
    let (here, second, third) = (Gateway::new(1).await, Gateway::new(2).await, Gateway::new(3).await);
    here.dials(&second).await;
    let link = here.dials(&third).await;
    let order = || here.neighbours.choices(group()).iter().map(|choice| choice.gateway).collect::<Vec<_>>();
    assert_eq!(order(), [second.id, third.id]);
    here.neighbours.took(group(), third.id);
    assert_eq!(order(), [third.id, second.id]);
    link.close(warren_tunnel::CloseReason::Shutdown, "gateway stops");
    link.closed().await;
    assert_eq!(order(), [second.id]);
}

#[tokio::test]
async fn a_resource_that_other_gateways_members_have_and_ours_had_not_is_reached() {
    let (here, there) = (Gateway::new(1).await, Gateway::new(2).await);
    here.dials(&there).await;
    let former = connect(&here.registry, 1, echoing).await;
    here.registry.observe(&former.tunnel, snapshot(1, &[1], &[]));
    here.registry.remove(&former.tunnel);
    let _member = there.has_agent(echoing).await;
    assert_eq!(say(here.call().await.0, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn whoever_is_no_gateway_on_this_store_is_refused() {
    let here = Gateway::new(1).await;
    let identity = |number, left_s: i64| {
        let (now, off) = (SystemTime::now(), Duration::from_secs(left_s.unsigned_abs()));
        let not_after = if left_s < 0 { now - off } else { now + off };
        let validity = Validity { not_before: now - Duration::from_secs(600), not_after };
        GatewayIdentity { gateway: GatewayId::from_random(number), validity }
    };
    assert_eq!(here.guests.lets_in(&identity(2, 60)).await, Err("unknown_gateway"));
    let record = GatewayRecord {
        id: GatewayId::from_random(2),
        url: "https://two".into(),
        address: "https://two".into(),
        version: "1".into(),
        silent_s: 0,
    };
    here.store.beat(&record).await.unwrap();
    assert_eq!(here.guests.lets_in(&identity(2, 60)).await, Ok(()));
    assert_eq!(here.guests.lets_in(&identity(2, -60)).await, Err("cert_expired"));
    assert_eq!(here.guests.lets_in(&identity(1, 60)).await, Err("unknown_gateway"), "its own id");
    here.store.leave(record.id).await.unwrap();
    assert_eq!(here.guests.lets_in(&identity(2, 60)).await, Err("unknown_gateway"));

    here.store.beat(&record).await.unwrap();
    here.guests.lets_in(&identity(2, 60)).await.unwrap();
    here.store.close().await;
    assert_eq!(
        here.guests.lets_in(&identity(2, 60)).await,
        Ok(()),
        "it was let in before the store went away"
    );
    assert_eq!(here.guests.lets_in(&identity(3, 60)).await, Err("store"));
}

#[test]
fn a_place_reads_back() {
    assert_eq!(of_place(&place(group(), &name("db"))), Some((group(), name("db"))));
    assert!(place(group(), &name(&"a".repeat(63))).len() <= warren_tunnel::frame::NAME_MAX);
    for odd in ["", "db", "grp-x/db", "/db", "grp-0000000001/d b"] {
        assert_eq!(of_place(odd), None, "{odd}");
    }
}
