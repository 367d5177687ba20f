use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use tokio::net::{TcpListener, TcpSocket};
use warren_core::{
    config::{GroupConfig, Resource},
    id::AgentId,
    state::GroupState,
};
use warren_tunnel::OpenResult;

use super::*;

fn rules(allow: &[&str], deny: &[&str]) -> Rules {
    let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Rules { allow: parse(allow), deny: parse(deny) }
}

fn live(veto: Rules) -> Live {
    Live { veto, ..crate::testing::live() }
}

struct Site {
    targets: Targets,
    _view: watch::Sender<Arc<GroupView>>,
    live: watch::Sender<Arc<Live>>,
}

/// A site whose group has one resource, `db`.
fn site(target: &str, group: Rules, veto: Rules) -> Site {
    let resource =
        Resource { target: target.parse().unwrap(), policy: Default::default(), description: String::new() };
    let resources = BTreeMap::from([("db".parse().unwrap(), resource)]);
    let config = GroupConfig { resources, destinations: group };
    let mut state = GroupState::default();
    (state.revision, state.config) = (1, config);
    let view = GroupView { epoch: 1, ..GroupView::new(AgentId::from_random(1), Arc::new(state)) };
    let (view_tx, view) = watch::channel(Arc::new(view));
    let (live_tx, live) = watch::channel(Arc::new(live(veto)));
    Site { targets: Targets::new(view, live), _view: view_tx, live: live_tx }
}

async fn connect(site: &Site) -> Result<TcpStream, DialFailure> {
    site.targets.connect(&"db".parse().unwrap(), Duration::from_millis(500)).await
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_target_is_reached_by_address_and_by_name() {
    let (_listener, address) = listener().await;
    for target in [address.to_string(), format!("localhost:{}", address.port())] {
        let site = site(&target, Rules::default(), rules(&[], &["169.254.0.0/16"]));
        let socket = connect(&site).await.unwrap();
        assert!(socket.nodelay().unwrap());
    }
}

#[tokio::test]
async fn each_failure_has_its_type() {
    let (listener, address) = listener().await;
    drop(listener);
    let refused = connect(&site(&address.to_string(), Rules::default(), Rules::default())).await.unwrap_err();
    assert_eq!(refused.result(), OpenResult::Refused);
    let dns =
        connect(&site("no-such-host.invalid:80", Rules::default(), Rules::default())).await.unwrap_err();
    assert_eq!(dns.result(), OpenResult::Dns);
    let here = site("127.0.0.1:1", Rules::default(), Rules::default());
    let unknown = here.targets.connect(&"other".parse().unwrap(), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(unknown.result(), OpenResult::Unknown);
}

#[tokio::test]
async fn a_target_that_takes_no_connection_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    // One connection fills a queue of this length; the kernel drops what comes after it.
    let _listener = socket.listen(0).unwrap();
    let _filler = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let late = connect(&site(&address.to_string(), Rules::default(), Rules::default())).await.unwrap_err();
    assert_eq!(late.result(), OpenResult::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn the_sites_veto_wins_and_changes_live() {
    let (_listener, address) = listener().await;
    let site = site(&address.to_string(), rules(&["127.0.0.0/8"], &[]), rules(&[], &["127.0.0.1"]));
    let denied = connect(&site).await.unwrap_err();
    assert_eq!(denied.result(), OpenResult::Denied);
    assert_eq!(
        denied.to_string(),
        format!("{address} at 127.0.0.1 is denied by this site's veto (127.0.0.1/32)")
    );
    site.live.send_replace(Arc::new(live(Rules::default())));
    connect(&site).await.unwrap();
}

#[tokio::test]
async fn both_lists_must_allow() {
    let (_listener, address) = listener().await;
    let by_group = site(&address.to_string(), rules(&["10.0.0.0/8"], &[]), Rules::default());
    let denied = connect(&by_group).await.unwrap_err().to_string();
    assert!(denied.ends_with("is not on the allow list of the group's config"), "{denied}");
    let by_site = site(&address.to_string(), rules(&["127.0.0.1"], &[]), rules(&["10.0.0.0/8"], &[]));
    let denied = connect(&by_site).await.unwrap_err().to_string();
    assert!(denied.ends_with("is not on the allow list of this site's veto"), "{denied}");
}

#[tokio::test]
async fn a_name_is_judged_by_where_it_points() {
    let (_listener, address) = listener().await;
    let site =
        site(&format!("localhost:{}", address.port()), Rules::default(), rules(&[], &["127.0.0.0/8", "::1"]));
    assert_eq!(connect(&site).await.unwrap_err().result(), OpenResult::Denied);
}

#[test]
fn addresses_in_disguise_meet_the_rules_of_what_they_are() {
    let deny = rules(&[], &["127.0.0.0/8", "::1", "169.254.0.0/16"]);
    for text in ["0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:169.254.169.254"] {
        let address = destination(text.parse().unwrap());
        let target = "db.corp:80".parse().unwrap();
        assert!(permitted(&target, &[address], &Rules::default(), &deny).is_err(), "{text}");
    }
}

#[test]
fn allowed_addresses_of_a_name_are_used_beside_denied_ones() {
    let (inside, outside) = ("10.0.0.1".parse().unwrap(), "169.254.1.1".parse().unwrap());
    let target = "db.corp:80".parse().unwrap();
    let deny = rules(&[], &["169.254.0.0/16"]);
    let allowed = permitted(&target, &[outside, inside], &deny, &Rules::default()).unwrap();
    assert_eq!(allowed, [inside]);
}

#[tokio::test]
async fn the_next_address_is_tried_when_the_first_fails() {
    let (gone, refused) = listener().await;
    drop(gone);
    let (_listener, open) = listener().await;
    let socket = connect_first(vec![refused, open]).await.unwrap();
    assert_eq!(socket.peer_addr().unwrap(), open);
    let error = connect_first(vec![refused]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
