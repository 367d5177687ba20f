use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_tunnel::{Budget, Config, Handle, Hello, OpenError, OpenRequest, Role, echo::check_echo, run};

use super::*;
use crate::testing::{Member, PATIENCE, Site, echo_target, live};

/// Both ends of a tunnel, and the sessions behind it.
struct Agent {
    gateway: Handle,
    sessions: Sessions,
    proof: Proof,
    member: Member,
    _live: watch::Sender<Arc<Live>>,
}

async fn agent(site: &Site, limits: Limits) -> Agent {
    let member = site.member(1, 1).await;
    member.group.found().await.unwrap();
    crate::membership::joined(member.group.watch(), member.id).await;
    let (live_tx, live) = watch::channel(Arc::new(live()));
    let targets = Targets::new(member.group.watch(), live.clone());
    let sessions = Sessions::new(targets, member.group.watch(), live, limits);
    let desk = Desk::new(
        member.group.clone(),
        member.identity.clone(),
        sessions.carried(),
        watch::channel(Default::default()).1,
    );
    let (near, far) = tokio::io::duplex(256 * 1024);
    let budget = Budget::default();
    let (config, hello) = (Config::default(), Hello::new(1, 1, 0));
    let (gateway, driver) = run(near, Default::default(), Role::Gateway, config.clone(), hello, &budget);
    tokio::spawn(driver);
    let (handle, driver) = run(far, Default::default(), Role::Agent, config, hello, &budget);
    tokio::spawn(driver);
    let proof = Proof::absent();
    let (serving, given) = (sessions.clone(), proof.clone());
    tokio::spawn(async move {
        while let Some(incoming) = handle.accept().await {
            serving.serve(incoming, &desk, &given);
        }
    });
    Agent { gateway, sessions, proof, member, _live: live_tx }
}

const MANY: Limits = Limits { sessions: 100, pending_dials: 100 };

async fn refused(agent: &Agent, request: OpenRequest) -> (OpenResult, String) {
    match agent.gateway.open(request).await {
        Err(OpenError::Answered { result, detail }) => (result, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_reach_the_target_and_come_back() {
    let site = Site::new();
    let agent = agent(&site, MANY).await;
    agent.member.put("echo", &echo_target().await.to_string()).await;
    let mut session = agent.gateway.open(OpenRequest::resource("echo")).await.unwrap();
    session.write_all(b"hello").await.unwrap();
    session.shutdown().await.unwrap();
    let mut back = Vec::new();
    session.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"hello");
    timeout(PATIENCE, agent.sessions.idle()).await.unwrap();
    agent.member.shutdown().await;
}

#[tokio::test]
async fn an_echo_proves_the_tunnel() {
    let site = Site::new();
    let agent = agent(&site, MANY).await;
    check_echo(&agent.gateway, PATIENCE).await.unwrap();
    timeout(PATIENCE, agent.proof.given()).await.unwrap();
    assert_eq!(*agent.sessions.carried().borrow(), 0, "an echo is no session of a caller");
    agent.member.shutdown().await;
}

#[tokio::test]
async fn refusals_are_typed() {
    let site = Site::new();
    let agent = agent(&site, Limits { sessions: 1, pending_dials: 1 }).await;
    let (result, _) = refused(&agent, OpenRequest::resource("nothing")).await;
    assert_eq!(result, OpenResult::Unknown);
    let (result, _) = refused(&agent, OpenRequest::resource("No Name")).await;
    assert_eq!(result, OpenResult::Unknown);
    let revision = agent.member.put("echo", &echo_target().await.to_string()).await;
    let ahead = OpenRequest { min_revision: revision + 1, ..OpenRequest::resource("echo") };
    assert_eq!(refused(&agent, ahead).await, (OpenResult::Busy, "config behind".into()));

    let reached = OpenRequest { min_revision: revision, ..OpenRequest::resource("echo") };
    let first = agent.gateway.open(reached).await.unwrap();
    let (result, _) = refused(&agent, OpenRequest::resource("echo")).await;
    assert_eq!(result, OpenResult::Busy);
    drop(first);
    timeout(PATIENCE, agent.sessions.idle()).await.unwrap();

    agent.sessions.drain();
    let (result, _) = refused(&agent, OpenRequest::resource("echo")).await;
    assert_eq!(result, OpenResult::Draining);
    agent.member.shutdown().await;
}

#[tokio::test]
async fn a_session_waits_a_moment_for_a_config_that_is_on_its_way() {
    let site = Site::new();
    let agent = agent(&site, MANY).await;
    let target = echo_target().await.to_string();
    let request = OpenRequest { min_revision: 1, ..OpenRequest::resource("echo") };
    let (opened, _) = tokio::join!(agent.gateway.open(request), agent.member.put("echo", &target));
    opened.unwrap();
    agent.member.shutdown().await;
}
