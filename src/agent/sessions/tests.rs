use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_core::trace::{Sample, Sink, Span, SpanId};
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

/// The number of the gateway that asks.
const GATEWAY: u64 = 7;

async fn agent(site: &Site, limits: Limits) -> Agent {
    traced_agent(site, limits, Tracer::default()).await
}

async fn traced_agent(site: &Site, limits: Limits, tracer: Tracer) -> Agent {
    let member = site.member(1, 1).await;
    member.group.found().await.unwrap();
    crate::membership::joined(member.group.watch(), member.id).await;
    let (live_tx, live) = watch::channel(Arc::new(live()));
    let targets = Targets::new(member.group.watch(), live.clone());
    let sessions = Sessions::new(targets, member.group.watch(), live, limits, tracer);
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
            serving.serve(incoming, GATEWAY, &desk, &given);
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

/// Keeps what it is told.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<std::sync::Mutex<Vec<Span>>>);

impl Sink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }
}

#[tokio::test]
async fn spans_hang_on_the_gateways_question_and_the_dial_is_told_while_the_session_is_open() {
    let (site, kept) = (Site::new(), Kept::default());
    let agent = traced_agent(&site, MANY, Tracer::new(Sample::ALL, kept.clone())).await;
    let target = echo_target().await;
    agent.member.put("echo", &target.to_string()).await;
    let trace = TraceId([7; 16]);
    let request = OpenRequest { trace: trace.0, ..OpenRequest::resource("echo") };
    let mut session = agent.gateway.open(request).await.unwrap();
    let asked = SpanId::asked(trace, GATEWAY, session.id());
    {
        let told = kept.0.lock().unwrap();
        assert_eq!(told.iter().map(|span| span.name).collect::<Vec<_>>(), ["dial"]);
        assert_eq!(told[0].parent, Some(asked.answered(trace)));
    }
    session.shutdown().await.unwrap();
    session.read_to_end(&mut Vec::new()).await.unwrap();
    drop(session);
    timeout(PATIENCE, agent.sessions.idle()).await.unwrap();
    let ended = async {
        while kept.0.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    let told = kept.0.lock().unwrap()[1].clone();
    assert_eq!((told.name, told.id, told.parent), ("session", asked.answered(trace), Some(asked)));
    agent.member.shutdown().await;
}
