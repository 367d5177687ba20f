use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpListener,
};

use super::*;
use crate::{
    config::Overrides,
    inspection::tests::inspector,
    testing::{
        PATIENCE, Site, echo_target,
        gateway::{Gateway, closed_port},
    },
};

/// Settings of an agent whose folder is `data` in the site's place, with more keys of its file.
fn config(site: &Site, data: &Path, gateway: &str, ca: &Path, more: &str) -> AgentConfig {
    let file = site.folder("agent.yaml");
    fs::write(&file, more).unwrap();
    let overrides = Overrides {
        data_dir: Some(data.to_owned()),
        gateways: vec![gateway.to_owned()],
        ca: Some(ca.to_owned()),
        ..Overrides::default()
    };
    AgentConfig::load(Some(&file), overrides).unwrap()
}

/// The folder of an agent that has enrolled.
fn enrolled(site: &Site) -> std::path::PathBuf {
    let facts = &site.identity(1, 1).facts;
    let found = fs::read_dir(site.place.path()).unwrap().map(|entry| entry.unwrap().path());
    let folder = found.into_iter().find(|path| path.join("agent.json").exists());
    folder.unwrap_or_else(|| panic!("{facts:?} has a folder"))
}

async fn examined(config: &AgentConfig) -> Report {
    let mut told = Vec::new();
    let report = Box::pin(examine(config, PATIENCE, |check| told.push(check.clone()))).await;
    assert_eq!(told, report.checks, "each is told as it is done");
    let advised = |check: &Check| check.status != Status::Failed || check.advice.is_some();
    assert!(report.checks.iter().all(advised), "{report:?}");
    report
}

fn of(report: &Report, hop: Hop) -> Option<&Check> {
    report.checks.iter().find(|check| check.name == hop)
}

#[track_caller]
fn failed_at(report: &Report, hop: Hop) -> &Check {
    let first = report.failed().next().unwrap_or_else(|| panic!("nothing failed: {report:?}"));
    assert_eq!(first.name, hop, "{report:?}");
    first
}

#[tokio::test]
async fn an_enrolled_agent_is_taken_and_its_folder_left_as_it_was() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = enrolled(&site);
    let listed =
        || fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    let before = listed();
    let config = config(&site, &data, &gateway.url, &gateway.ca, "");
    let report = examined(&config).await;
    assert_eq!((report.ok, report.outcome()), (true, Outcome::Fine), "{report:?}");
    assert_eq!(of(&report, Hop::Answer).unwrap().seen, "the gateway takes this agent's certificate");
    assert!(of(&report, Hop::Tls).unwrap().seen.contains("ca.pem"), "{report:?}");
    assert!(of(&report, Hop::Sync).unwrap().ms.is_some());
    assert_eq!(of(&report, Hop::Agent).unwrap().status, Status::Skipped);
    assert_eq!(listed(), before);
    gateway.revoke_all();
    let report = examined(&config).await;
    assert!(failed_at(&report, Hop::Answer).seen.contains("revoked"));
    assert_eq!(report.outcome(), Outcome::Failed);
}

#[tokio::test]
async fn before_the_first_start_nothing_is_made() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = site.folder("not/yet");
    let report = examined(&config(&site, &data, &gateway.url, &gateway.ca, "")).await;
    assert!(failed_at(&report, Hop::Identity).seen.contains("no token"));
    assert_eq!(report.failed().count(), 1, "{report:?}");
    assert_eq!(of(&report, Hop::Answer).unwrap().status, Status::Ok);
    assert!(!site.folder("not").exists());
    assert_eq!(gateway.enrolled(), 0);
}

#[tokio::test]
async fn the_hop_that_fails_is_named() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = enrolled(&site);
    let examined_at = async |url: String| examined(&config(&site, &data, &url, &gateway.ca, "")).await;

    let report = examined_at(format!("https://{}", closed_port().await)).await;
    assert!(failed_at(&report, Hop::Tcp).seen.contains("refuses connections"));
    assert_eq!(report.outcome(), Outcome::GatewayAway);

    let report = examined_at("https://no-such-host.invalid".to_owned()).await;
    failed_at(&report, Hop::Name);
    assert!(of(&report, Hop::Tcp).is_none(), "{report:?}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            socket.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            // Until it has been read.
            let _ = copy(&mut socket, &mut sink()).await;
        }
    });
    let report = examined_at(url).await;
    assert!(failed_at(&report, Hop::Tls).advice.as_ref().unwrap().contains("not with TLS"));
    assert_eq!(of(&report, Hop::Tcp).unwrap().status, Status::Ok);
}

#[tokio::test]
async fn a_root_of_another_gateway_is_told_with_the_one_that_signed() {
    let (site, other) = (Arc::new(Site::new()), Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let ca = site.folder("other.pem");
    fs::write(&ca, other.authority.bundle_pem()).unwrap();
    let report = examined(&config(&site, &site.folder("new"), &gateway.url, &ca, "")).await;
    let tls = report.failed().find(|check| check.name == Hop::Tls).unwrap();
    assert!(tls.seen.contains("Warren gateway authority"), "{tls:?}");
    assert!(tls.advice.as_ref().unwrap().contains("--ca"), "{tls:?}");
    assert_eq!(report.outcome(), Outcome::GatewayAway);
}

#[tokio::test]
async fn a_proxy_that_opens_tls_is_told_although_it_is_trusted() {
    let (site, proxy) = (Arc::new(Site::new()), Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = enrolled(&site);
    let between = inspector(&proxy, &gateway, site.identity(1, 1).gateways.clone()).await;
    let root = site.folder("inspection.pem");
    fs::write(&root, proxy.authority.bundle_pem()).unwrap();
    let more = format!("extra_ca: [{}]\n", root.display());
    let report = examined(&config(&site, &data, &between.to_string(), &gateway.ca, &more)).await;
    let tls = failed_at(&report, Hop::Tls);
    assert!(tls.advice.as_ref().unwrap().contains("exempted from inspection"), "{tls:?}");
    assert!(tls.seen.contains("(extra_ca)"), "{tls:?}");
    assert_eq!(of(&report, Hop::Answer).unwrap().status, Status::Failed);
    assert_eq!(report.outcome(), Outcome::Failed);
}

#[tokio::test]
async fn who_is_silent_does_not_outlast_the_time_that_was_given() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let data = enrolled(&site);
    let mut config = config(&site, &data, &url, &gateway.ca, "");
    config.gateways.push(gateway.url.parse().unwrap());
    let (given, begun) = (Duration::from_millis(700), Instant::now());
    let report = examine(&config, given, |_| {}).await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(failed_at(&report, Hop::Tls).seen.contains("the time was over"));
    let second = report.failed().nth(1).unwrap();
    assert!(second.name == Hop::Tcp && second.seen.contains("the time was over"), "never begun: {report:?}");
    assert_eq!(report.outcome(), Outcome::GatewayAway);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_from_one_that_is_away_and_without_the_password() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = enrolled(&site);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let asked = socket.read(&mut [0; 1024]).await.unwrap();
                if asked > 0 {
                    let refusal = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n";
                    socket.write_all(refusal).await.unwrap();
                }
            });
        }
    });
    let through = |place| format!("proxy: http://user:hush-hush@{place}\n");
    let report = examined(&config(&site, &data, &gateway.url, &gateway.ca, &through(place))).await;
    let proxy = failed_at(&report, Hop::Proxy);
    assert!(proxy.seen.contains("407"), "{proxy:?}");
    assert_eq!(of(&report, Hop::Tcp).unwrap().seen, format!("connected to {place}"));
    assert!(of(&report, Hop::Way).unwrap().seen.contains(&format!("http://{place} (the file)")));
    assert!(!serde_json::to_string(&report).unwrap().contains("hush"), "{report:?}");

    let more = through(closed_port().await);
    let report = examined(&config(&site, &data, &gateway.url, &gateway.ca, &more)).await;
    assert!(failed_at(&report, Hop::Tcp).advice.as_ref().unwrap().contains("the proxy runs"));
}

#[tokio::test]
async fn the_quick_starts_target_is_dialled_under_the_sites_veto() {
    let site = Arc::new(Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let data = enrolled(&site);
    let echo = echo_target().await;
    let target = async |place: std::net::SocketAddr, more: &str| {
        let app = format!("name: app\napp: {{host: {}, port: {}}}\n{more}", place.ip(), place.port());
        let report = examined(&config(&site, &data, &gateway.url, &gateway.ca, &app)).await;
        of(&report, Hop::Target).unwrap().clone()
    };
    let well = target(echo, "").await;
    assert_eq!((well.status, well.of), (Status::Ok, Some(echo.to_string())));
    let vetoed = target(echo, "veto: {deny: [127.0.0.0/8]}\n").await;
    assert!(vetoed.status == Status::Failed && vetoed.seen.contains("this site's veto"), "{vetoed:?}");
    let refused = target(closed_port().await, "").await;
    assert!(refused.seen.contains("refused the connection"), "{refused:?}");
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let gateways = vec!["http://x".to_owned()];
    let overrides = Overrides { gateways, peer_listen: Some("nope".into()), ..Overrides::default() };
    let report = wrong_settings(&AgentConfig::load(None, overrides).unwrap_err());
    assert_eq!((report.ok, report.outcome()), (false, Outcome::WrongSettings));
    assert!(report.checks[0].seen.contains("http://x") && report.checks[0].seen.contains("peer_listen"));
}
