use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use warren_tunnel::{OpenError, OpenRequest, OpenResult};

use super::*;
use crate::{
    config::{Overrides, Token},
    testing::{
        PATIENCE, Site, echo_target,
        gateway::{Gateway, TOKEN, closed_port},
    },
};

fn overrides(gateway: &Gateway, site: &Site, name: &str, token: Option<&str>) -> Overrides {
    Overrides {
        data_dir: Some(site.folder(name)),
        gateways: vec![gateway.url.clone()],
        ca: Some(gateway.ca.clone()),
        token: token.map(|token| Token::from(token.to_owned())),
        name: Some(name.into()),
        peer_listen: Some("127.0.0.1:0".into()),
        drain: Some("5s".into()),
        ..Overrides::default()
    }
}

struct Running {
    ready: Ready,
    readiness: watch::Receiver<Readiness>,
    drain: CancellationToken,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _reload: mpsc::Sender<()>,
}

async fn start(overrides: Overrides) -> Running {
    let agent = Agent::build(AgentConfig::load(None, overrides).unwrap(), Tracer::default()).await.unwrap();
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let (reload, reloads) = mpsc::channel(1);
    let (ready, readiness) = (agent.ready(), agent.readiness());
    let task = tokio::spawn(agent.run(drain.clone(), stop.clone(), reloads));
    let ready = timeout(PATIENCE, ready).await.unwrap();
    Running { ready, readiness, drain, stop, task, _reload: reload }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_enrols_serves_drains_and_comes_back() {
    let site = Arc::new(Site::new());
    let mut gateway = Gateway::start(site.clone(), 1).await;
    let target = echo_target().await;
    let mut over = overrides(&gateway, &site, "db", Some(TOKEN));
    over.app_host = Some(target.ip().to_string());
    over.app_port = Some(target.port().to_string());
    // The gateway proves tunnels while the agent waits for that.
    let (running, (tunnel, _second)) =
        tokio::join!(start(over), async { (gateway.tunnel().await, gateway.tunnel().await) });
    assert!(running.readiness.borrow().is_ready());

    let request = OpenRequest { min_revision: 1, ..OpenRequest::resource("db") };
    let mut session = open_soon(&tunnel, request).await;
    session.write_all(b"before").await.unwrap();
    let mut bytes = [0; 6];
    session.read_exact(&mut bytes).await.unwrap();

    running.drain.cancel();
    let mut status = tunnel.status();
    timeout(PATIENCE, status.wait_for(|status| status.peer_drain.is_some())).await.unwrap().unwrap();
    assert!(!running.readiness.borrow().is_ready());
    let refused = tunnel.open(OpenRequest::resource("db")).await;
    assert!(matches!(refused, Err(OpenError::Answered { result: OpenResult::Draining, .. })), "{refused:?}");
    session.write_all(b"during").await.unwrap();
    session.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"during");
    session.shutdown().await.unwrap();
    let begun = std::time::Instant::now();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "did not wait for the drain's deadline");

    let over = overrides(&gateway, &site, "db", Some("spent"));
    let (again, _tunnel) = tokio::join!(start(over), gateway.tunnel());
    assert_eq!(again.ready, running.ready, "same id, same peer port");
    assert_eq!(gateway.enrolled(), 1, "the token is used once");
    again.stop.cancel();
    timeout(PATIENCE, again.task).await.unwrap().unwrap();
}

/// Opens a resource that is declared at about this moment.
async fn open_soon(tunnel: &warren_tunnel::Handle, request: OpenRequest) -> warren_tunnel::SessionStream {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match tunnel.open(request.clone()).await {
            Ok(session) => return session,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_joins_the_first() {
    let site = Arc::new(Site::new());
    let mut gateway = Gateway::start(site.clone(), 1).await;
    let over = overrides(&gateway, &site, "one", Some(TOKEN));
    let (first, _t1) = tokio::join!(start(over), gateway.tunnel());
    let over = overrides(&gateway, &site, "two", Some(TOKEN));
    let (second, _t2) = tokio::join!(start(over), async {
        // The first agent's other tunnel may come in between.
        (gateway.tunnel().await, gateway.tunnel().await)
    });
    assert_eq!(first.ready.group, second.ready.group);
    assert_ne!(first.ready.id, second.ready.id);
    first.stop.cancel();
    second.stop.cancel();
    timeout(PATIENCE, first.task).await.unwrap().unwrap();
    timeout(PATIENCE, second.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_token_ends_the_start_with_its_reason() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let config = AgentConfig::load(None, overrides(&gateway, &site, "a", Some("old"))).unwrap();
    let error = Agent::build(config, Tracer::default()).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let told = crate::cloud::causes(&error);
    assert!(told.contains("token_rotated") && told.contains("rotated away"), "{told}");

    let config = AgentConfig::load(None, overrides(&gateway, &site, "b", None)).unwrap();
    assert_eq!(Agent::build(config, Tracer::default()).await.unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn a_gateway_that_is_away_is_waited_for() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let mut over = overrides(&gateway, &site, "a", Some(TOKEN));
    over.gateways = vec![format!("https://{}", closed_port().await)];
    let build = Agent::build(AgentConfig::load(None, over.clone()).unwrap(), Tracer::default());
    assert!(timeout(Duration::from_secs(2), build).await.is_err(), "still asking");
    // The second gateway answers.
    over.gateways.push(gateway.url.clone());
    timeout(PATIENCE, Agent::build(AgentConfig::load(None, over).unwrap(), Tracer::default()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(gateway.enrolled(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_agent_says_so_and_is_not_ready() {
    let site = Arc::new(Site::new());
    let mut gateway = Gateway::start(site.clone(), 1).await;
    let over = overrides(&gateway, &site, "a", Some(TOKEN));
    let (running, tunnel) = tokio::join!(start(over), gateway.tunnel());
    gateway.revoke_all();
    tunnel.close(warren_tunnel::CloseReason::Revoked, "revoked by ann");
    let mut readiness = running.readiness.clone();
    timeout(PATIENCE, readiness.wait_for(|readiness| readiness.revoked)).await.unwrap().unwrap();
    assert!(!readiness.borrow().is_ready());
    running.stop.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_cuts_what_is_left_at_its_deadline_and_says_why() {
    let site = Arc::new(Site::new());
    let mut gateway = Gateway::start(site.clone(), 1).await;
    let target = echo_target().await;
    let mut over = overrides(&gateway, &site, "db", Some(TOKEN));
    over.app_host = Some(target.ip().to_string());
    over.app_port = Some(target.port().to_string());
    over.drain = Some("200ms".into());
    let (running, tunnel) = tokio::join!(start(over), gateway.tunnel());
    let request = OpenRequest { min_revision: 1, ..OpenRequest::resource("db") };
    let session = open_soon(&tunnel, request).await;
    running.drain.cancel();
    let cut = timeout(PATIENCE, session.cut()).await.unwrap();
    assert_eq!(cut.reason, warren_tunnel::ResetReason::Draining);
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}
