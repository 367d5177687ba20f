use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{dispatch::DispatchLimits, sessions::SessionLog, testing::*};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

const WIDE: PortRange = PortRange { low: 20_000, high: 29_999 };

struct Bench {
    ingress: Ingress,
    registry: Registry,
    store: Arc<dyn Store>,
    stop: CancellationToken,
}

impl Bench {
    async fn on(folder: &tempfile::TempDir, ports: PortRange) -> Self {
        Self::at(LOOPBACK, folder, ports).await
    }

    async fn at(host: IpAddr, folder: &tempfile::TempDir, ports: PortRange) -> Self {
        let (registry, store, stop) = (Registry::default(), store(folder).await, CancellationToken::new());
        let limits = DispatchLimits::default();
        let dispatcher = Dispatcher::new(
            registry.clone(),
            Default::default(),
            SessionLog::default(),
            limits,
            Default::default(),
        );
        let ingress = Ingress::new((host, ports), store.clone(), registry.clone(), dispatcher, stop.clone());
        Self { ingress, registry, store, stop }
    }

    async fn commit(&self, resource: &str, listen: Option<&str>) -> SocketAddr {
        self.ingress.reserve(group(), &name(resource), listen).unwrap().commit().await.unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.ingress.finished().await;
    }
}

async fn answers(address: SocketAddr) -> bool {
    let Ok(mut caller) = TcpStream::connect(address).await else { return false };
    let talk = async {
        caller.write_all(b"x").await?;
        caller.read_u8().await
    };
    tokio::time::timeout(Duration::from_secs(5), talk).await.is_ok_and(|heard| heard.is_ok())
}

#[tokio::test]
async fn a_restart_keeps_every_address() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", Some("127.0.0.1:0")).await;
    let freed = bench.ingress.reserve(group(), &name("other"), None).unwrap();
    assert_eq!(bench.ingress.address(group(), &name("other")), Some(freed.address()));
    drop(freed);
    assert_eq!(bench.ingress.address(group(), &name("other")), None);
    bench.end().await;
    let bench = Bench::on(&folder, WIDE).await;
    bench.ingress.follow().await.unwrap();
    assert_eq!(bench.ingress.address(group(), &name("db")), Some(address));
    assert!(TcpStream::connect(address).await.is_ok(), "open while no agent is there");
}

#[tokio::test]
async fn another_try_takes_up_the_address_that_the_first_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    let reserve = |listen| bench.ingress.reserve(group(), &name("db"), listen);
    let mut again = reserve(None).unwrap();
    assert_eq!(again.address(), address);
    assert_eq!(reserve(None).unwrap_err().reason(), "listening", "one at a time");
    again.keep().await.unwrap();
    again.release().await;
    assert!(TcpStream::connect(address).await.is_ok(), "a refusal may be of a resource that exists");
    assert_eq!(reserve(Some("127.0.0.1:0")).unwrap().commit().await.unwrap(), address);
    assert!(TcpStream::connect(address).await.is_ok());
    let elsewhere = format!("127.0.0.1:{}", if address.port() == 20_000 { 20_001 } else { 20_000 });
    assert_eq!(reserve(Some(&elsewhere)).unwrap_err().reason(), "listening");
    assert_eq!(bench.store.listeners().await.unwrap().len(), 1);
    bench.end().await;
}

#[tokio::test]
async fn an_address_is_kept_before_its_resource_is_made_and_forgotten_when_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let mut died = bench.ingress.reserve(group(), &name("db"), None).unwrap();
    let mut refused = bench.ingress.reserve(group(), &name("other"), None).unwrap();
    died.keep().await.unwrap();
    refused.keep().await.unwrap();
    let address = died.address();
    refused.release().await;
    assert_eq!(bench.ingress.address(group(), &name("other")), None);
    drop(died);
    bench.end().await;
    let bench = Bench::on(&folder, WIDE).await;
    bench.ingress.follow().await.unwrap();
    assert_eq!(bench.ingress.address(group(), &name("db")), Some(address));
    assert_eq!(bench.store.listeners().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_taken_at_restart_is_bound_once_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    bench.end().await;
    let squatter = bind::bind(address).unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    bench.ingress.follow().await.unwrap();
    let member = connect(&bench.registry, 1, echoing).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    drop(squatter);
    let mut served = false;
    for _ in 0..100 {
        if answers(address).await {
            served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(served);
}

#[tokio::test]
async fn an_address_that_somebody_else_has_is_not_told_as_the_resources_own() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    bench.end().await;
    let squatter = bind::bind(address).unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    bench.ingress.follow().await.unwrap();
    let reserve = || bench.ingress.reserve(group(), &name("db"), None);
    assert_eq!(reserve().unwrap_err().reason(), "address_in_use");
    drop(squatter);
    let reserved = reserve().unwrap();
    assert_eq!(reserved.commit().await.unwrap(), address);
    let member = connect(&bench.registry, 1, echoing).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    assert!(answers(address).await);
}

#[tokio::test]
async fn a_resource_made_elsewhere_gets_an_address_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let ingress = bench.ingress.clone();
    tokio::spawn(async move { ingress.run().await });
    let member = connect(&bench.registry, 1, echoing).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    until("a listener", || bench.ingress.address(group(), &name("db")).is_some()).await;
    let address = bench.ingress.address(group(), &name("db")).unwrap();
    until("it is kept", || true).await;
    assert!(answers(address).await);
    let kept = bench.store.listeners().await.unwrap();
    assert_eq!((kept.len(), kept[0].at.on(LOOPBACK)), (1, address));
}

#[tokio::test]
async fn a_resource_that_is_gone_gives_its_address_back() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    bench.ingress.close(group(), &name("db")).await;
    assert!(bench.store.listeners().await.unwrap().is_empty());
    let mut again = bind::bind(address);
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        again = bind::bind(address);
    }
    again.unwrap();
}

#[tokio::test]
async fn a_resource_that_is_missing_for_a_moment_keeps_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    let member = connect(&bench.registry, 1, echoing).await;
    let listens = || bench.ingress.address(group(), &name("db"));
    let (mut keeper, start) = (keep::Keeper::default(), tokio::time::Instant::now());
    let later = |seconds| start + Duration::from_secs(seconds);
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &[]));
    keeper.look(&bench.ingress.shared, true, start).await;
    keeper.look(&bench.ingress.shared, true, later(9)).await;
    assert_eq!(listens(), Some(address));
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    keeper.look(&bench.ingress.shared, false, later(10)).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &[]));
    keeper.look(&bench.ingress.shared, false, later(11)).await;
    keeper.look(&bench.ingress.shared, true, later(20)).await;
    assert_eq!(listens(), Some(address));
    keeper.look(&bench.ingress.shared, true, later(21)).await;
    assert_eq!(listens(), None);
    assert!(bench.store.listeners().await.unwrap().is_empty());
}

#[tokio::test]
async fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let squatter = bind::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = squatter.local_addr().unwrap().port();
    let bench = Bench::on(&folder, PortRange { low: port, high: port }).await;
    let refused = |resource: &str, listen: Option<&str>| {
        bench.ingress.reserve(group(), &name(resource), listen).unwrap_err().reason()
    };
    assert_eq!(refused("db", Some("db.corp:5432")), "bad_address");
    assert_eq!(refused("db", Some(&format!("127.0.0.1:{port}"))), "address_in_use");
    assert_eq!(refused("db", None), "no_port");
    assert_eq!(refused("db", Some("127.0.0.1:0")), "no_port");
    drop(squatter);
    assert_eq!(bench.commit("db", Some("127.0.0.1:0")).await.port(), port);
    assert_eq!(refused("db", Some("127.0.0.2:0")), "listening");
}

#[tokio::test]
async fn a_free_port_comes_from_the_range_wherever_the_search_begins() {
    let taken = bind::bind_any(LOOPBACK, WIDE, 7).unwrap().local_addr().unwrap().port();
    assert!((WIDE.low..=WIDE.high).contains(&taken));
    let two = PortRange { low: taken, high: taken + 1 };
    for random in [0, 1, u16::MAX] {
        let first = bind::bind_any(LOOPBACK, two, random).unwrap();
        assert!((two.low..=two.high).contains(&first.local_addr().unwrap().port()));
    }
    let every = PortRange { low: 1, high: u16::MAX };
    assert!(bind::bind_any(LOOPBACK, every, u16::MAX).is_ok());
}

/// Two gateways on one store, each with a host of its own.
#[tokio::test]
async fn a_resource_listens_on_every_gateway_until_one_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Bench::on(&folder, WIDE).await, Bench::at([127, 0, 0, 2].into(), &folder, WIDE).await);
    two.ingress.follow().await.unwrap();
    let address = one.commit("db", None).await;
    two.ingress.follow().await.unwrap();
    let there = two.ingress.address(group(), &name("db")).unwrap();
    assert_eq!((there.ip(), there.port()), ([127, 0, 0, 2].into(), address.port()));
    let another = two.ingress.reserve(group(), &name("db"), None).unwrap();
    assert_eq!(another.address(), there, "whether there is such a resource is for its group to say");
    another.release().await;
    assert_eq!(two.ingress.address(group(), &name("db")), Some(there));

    // Its own members still name the resource for a moment.
    let member = connect(&two.registry, 1, echoing).await;
    two.registry.observe(&member.tunnel, snapshot(1, &[1], &["db"]));
    one.ingress.close(group(), &name("db")).await;
    two.ingress.follow().await.unwrap();
    keep::Keeper::default().look(&two.ingress.shared, true, tokio::time::Instant::now()).await;
    assert_eq!(two.ingress.address(group(), &name("db")), None);
    assert!(one.store.listeners().await.unwrap().is_empty(), "it is not made again");
}

#[tokio::test]
async fn of_two_gateways_that_choose_a_port_at_once_the_first_has_chosen_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Bench::on(&folder, WIDE).await, Bench::at([127, 0, 0, 2].into(), &folder, WIDE).await);
    let first = one.ingress.reserve(group(), &name("db"), None).unwrap();
    let second = two.ingress.reserve(group(), &name("db"), None).unwrap();
    let address = first.commit().await.unwrap();
    assert!(
        !two.ingress.follow().await.unwrap(),
        "the second one is being made, and has to be looked at again"
    );
    assert_eq!(second.commit().await.unwrap_err().reason(), "listening");
    assert!(two.ingress.follow().await.unwrap());
    assert_eq!(two.ingress.address(group(), &name("db")).unwrap().port(), address.port());
}

#[tokio::test]
async fn what_a_gateway_remembers_of_a_group_without_tunnels_closes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on(&folder, WIDE).await;
    let address = bench.commit("db", None).await;
    let member = connect(&bench.registry, 1, echoing).await;
    bench.registry.observe(&member.tunnel, snapshot(1, &[1], &[]));
    let (mut keeper, start) = (keep::Keeper::default(), tokio::time::Instant::now());
    keeper.look(&bench.ingress.shared, true, start).await;
    bench.registry.remove(&member.tunnel);
    keeper.look(&bench.ingress.shared, true, start + Duration::from_secs(60)).await;
    assert_eq!(bench.ingress.address(group(), &name("db")), Some(address));
}
