use tokio::{net::TcpListener, time::timeout};
use warren_core::id::AgentId;

use super::*;
use crate::{
    config::Live,
    testing::{PATIENCE, Site, gateway::closed_port, live},
};

async fn said(views: &mut watch::Receiver<Arc<GroupView>>, me: AgentId, verdict: Verdict) -> String {
    let db: Name = "db".parse().unwrap();
    let view = views.wait_for(|view| view.state.resource_verdict(me, &db) == verdict);
    let view = timeout(PATIENCE, view).await.unwrap().unwrap();
    view.state.resource_verdicts[&me][&db].detail.clone()
}

#[tokio::test]
async fn the_group_learns_that_a_resource_went_and_came_back() {
    let site = Site::new();
    let member = site.member(1, 1).await;
    member.group.found().await.unwrap();
    crate::membership::joined(member.group.watch(), member.id).await;
    let often = Live { probe_interval: Duration::from_millis(100), ..live() };
    let (live_tx, live) = watch::channel(Arc::new(often.clone()));
    let targets = Targets::new(member.group.watch(), live.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(Probes::new(member.group.clone(), targets, live).run(stop.clone()));

    let address = closed_port().await;
    member.put("db", &address.to_string()).await;
    let mut views = member.group.watch();
    let detail = said(&mut views, member.id, Verdict::Down).await;
    assert_eq!(detail, format!("{address} refused the connection"));

    let _listener = TcpListener::bind(address).await.unwrap();
    said(&mut views, member.id, Verdict::Up).await;

    let veto = warren_core::destination::Rules { allow: vec![], deny: vec!["127.0.0.0/8".parse().unwrap()] };
    live_tx.send_replace(Arc::new(Live { veto, ..often }));
    let detail = said(&mut views, member.id, Verdict::Down).await;
    assert!(detail.contains("denied by this site's veto"), "{detail}");
    stop.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
    member.shutdown().await;
}
