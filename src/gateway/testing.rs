//! For tests: agents in this process, on real tunnels over memory pipes, and callers on real sockets.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    io::duplex,
    net::{TcpListener, TcpStream},
};
use warren_core::{
    config::Resource,
    id::{AgentId, GroupId, Name},
    state::{Intent, Judged, WEIGHT_DEFAULT},
    view::Role as Vote,
};
use warren_identity::{PeerIdentity, Validity};
use warren_tunnel::{Budget, Config, Handle, Hello, Incoming, Role, SessionKind, echo::serve_echo};
use warren_wire::convert::{Snapshot, SnapshotMember, SnapshotResource};

use crate::{
    config::StoreLocation,
    registry::{NotAdmitted, Registry, Tunnel},
    store::{GroupRecord, SqlStore, Store},
};

pub(crate) fn group() -> GroupId {
    GroupId::from_random(1)
}

pub(crate) fn agent(number: u64) -> AgentId {
    AgentId::from_random(number)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn identity(agent: AgentId) -> PeerIdentity {
    let now = SystemTime::now();
    let validity =
        Validity { not_before: now - Duration::from_secs(60), not_after: now + Duration::from_secs(600) };
    PeerIdentity { group: group(), agent, serial: "1".into(), validity }
}

/// Both ends of a new tunnel.
pub(crate) fn tunnel(hello: Hello) -> (Handle, Handle) {
    let (near, far) = duplex(1 << 20);
    let budget = Budget::new(1 << 30);
    let end = |stream, role, hello| {
        let (handle, driver) =
            warren_tunnel::run(stream, Default::default(), role, Config::default(), hello, &budget);
        tokio::spawn(driver);
        handle
    };
    (end(near, Role::Gateway, Hello::new(9, 0, 0)), end(far, Role::Agent, hello))
}

/// An agent's end, and the registry's record of the gateway's end.
pub(crate) struct Connected {
    pub(crate) far: Handle,
    pub(crate) tunnel: Arc<Tunnel>,
}

/// Connects an agent that does with resource sessions as `serve` says.
pub(crate) async fn connect(registry: &Registry, number: u64, serve: fn(Incoming)) -> Connected {
    connect_as(registry, number, Hello::new(number, 1, 0), serve).await.unwrap()
}

pub(crate) async fn connect_as(
    registry: &Registry,
    number: u64,
    hello: Hello,
    serve: fn(Incoming),
) -> Result<Connected, NotAdmitted> {
    let (near, far) = tunnel(hello);
    let hello = near.ready().await.unwrap();
    let tunnel = registry.admit(&identity(agent(number)), hello, near)?;
    let handle = far.clone();
    tokio::spawn(async move {
        while let Some(incoming) = handle.accept().await {
            match incoming.request().kind {
                SessionKind::Resource => serve(incoming),
                _ => drop(tokio::spawn(serve_echo(incoming.accept()))),
            }
        }
    });
    Ok(Connected { far, tunnel })
}

/// A target that says everything back.
pub(crate) fn echoing(incoming: Incoming) {
    tokio::spawn(serve_echo(incoming.accept()));
}

/// What a member says of a group with these members and resources.
pub(crate) fn snapshot(member: u64, members: &[u64], resources: &[&str]) -> Snapshot {
    let judged = Judged::default;
    let fact = |id: &u64| SnapshotMember {
        name: format!("a{id}"),
        peer_address: String::new(),
        intent: Intent::Enabled,
        weight: WEIGHT_DEFAULT,
        tier: 0,
        verdict: judged(),
        role: Some(Vote::Voter),
        version: String::new(),
    };
    let resource = |text: &&str| {
        let target = "db.corp:5432".parse().unwrap();
        let resource = Resource { target, policy: Default::default(), description: String::new() };
        (name(text), SnapshotResource { resource, revision: 1 })
    };
    Snapshot {
        member: agent(member),
        revision: 1,
        leader: Some(agent(members[0])),
        term: 1,
        quorum: true,
        applied: 1,
        trouble: String::new(),
        epoch: 1,
        resources: resources.iter().map(resource).collect(),
        members: members.iter().map(|id| (agent(*id), fact(id))).collect(),
        verdicts: BTreeMap::new(),
        document: String::new(),
        own: Default::default(),
        vitals: Default::default(),
        hears: None,
    }
}

/// Both ends of a connection: the caller's, and the one that the gateway accepted.
pub(crate) async fn caller() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), accepted.unwrap().0)
}

/// A store that knows the group.
pub(crate) async fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let place = StoreLocation::Sqlite(folder.path().join("gateway.db"));
    let store = SqlStore::open(&place).await.unwrap();
    let record = GroupRecord { id: group(), name: name("site"), customer: None, created_s: 1, generation: 1 };
    if store.group(group()).await.unwrap().is_none() {
        store.create_group(&record).await.unwrap();
    }
    Arc::new(store)
}

/// Waits until `is` holds, at most five seconds.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waited = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), waited).await.is_ok(), "waited in vain: {what}");
}
