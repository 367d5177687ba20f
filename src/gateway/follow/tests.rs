use std::net::IpAddr;

use tokio_util::sync::CancellationToken;
use warren_core::id::GroupId;

use super::*;
use crate::{
    config::PortRange,
    dispatch::{DispatchLimits, Dispatcher},
    sessions::SessionLog,
    store::{ListenAt, ListenerRecord},
    testing::*,
};

fn gateway(store: Arc<dyn Store>) -> (Follower, Registry, Ingress) {
    let (registry, stop) = (Registry::default(), CancellationToken::new());
    let limits = DispatchLimits::default();
    let dispatcher = Dispatcher::new(
        registry.clone(),
        Default::default(),
        SessionLog::default(),
        limits,
        Default::default(),
    );
    let place = (IpAddr::from([127, 0, 0, 3]), PortRange { low: 20_000, high: 29_999 });
    let ingress = Ingress::new(place, store.clone(), registry.clone(), dispatcher, stop);
    (Follower::new(store, registry.clone(), ingress.clone(), Known::default()), registry, ingress)
}

#[tokio::test]
async fn what_another_gateway_changed_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let (mut follower, registry, ingress) = gateway(store.clone());
    follower.look().await.unwrap();
    assert_eq!(&*registry.label(group()), "site");

    let socket = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let at = ListenAt { host: None, port };
    store.keep_listener(&ListenerRecord { group: group(), resource: name("db"), at }).await.unwrap();
    follower.look().await.unwrap();
    assert_eq!(ingress.address(group(), &name("db")).map(|address| address.port()), Some(port));

    let member = connect(&registry, 1, echoing).await;
    store.delete_group(group(), 1).await.unwrap();
    follower.look().await.unwrap();
    member.far.closed().await;
    assert_eq!(ingress.address(group(), &name("db")), None);
    assert!(!registry.named().contains(&group()));
}

#[tokio::test]
async fn without_news_nothing_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut follower, registry, _ingress) = gateway(store(&folder).await);
    follower.look().await.unwrap();
    let unknown = GroupId::from_random(9);
    registry.name_group(unknown, "made here a moment ago");
    follower.look().await.unwrap();
    assert!(registry.named().contains(&unknown));
}
