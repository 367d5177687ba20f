//! What the tests of this crate stand on: certificates of one authority, members on loopback, and a small gateway.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use warren_core::{
    config::Resource,
    destination::Rules,
    id::{AgentId, GroupId},
    state::{Change, Command, RequestId},
};
use warren_group::{Group, Options, Profile};
use warren_identity::{AgentRequest, Authority};

use crate::{
    config::Live,
    identity::{Facts, Folder, Identity, Issued},
    peers::{Dialer, Listener},
};

pub(crate) mod gateway;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One authority and one folder for everything.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) place: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let authority = Authority::generate(SystemTime::now()).unwrap();
        Self { authority, place: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// An enrolled agent's identity.
    pub(crate) fn identity(&self, agent: u64, group: u64) -> Arc<Identity> {
        let folder = Folder::open(&self.folder(&format!("agent-{agent}-{group}"))).unwrap();
        let (agent, group) = (AgentId::from_random(agent), GroupId::from_random(group));
        let csr = folder.key().unwrap().csr_der().unwrap();
        let facts = Facts { agent, group, group_name: "site".into() };
        folder.keep(&facts, &self.issue(&csr, group, agent)).unwrap();
        Arc::new(folder.identity(Some(&self.authority.bundle_pem())).unwrap().unwrap())
    }

    pub(crate) fn issue(&self, csr: &[u8], group: GroupId, agent: AgentId) -> Issued {
        self.issue_at(csr, group, agent, SystemTime::now())
    }

    /// A certificate for an hour from `now`.
    pub(crate) fn issue_at(&self, csr: &[u8], group: GroupId, agent: AgentId, now: SystemTime) -> Issued {
        let request = AgentRequest::parse(csr).unwrap();
        let lifetime = Duration::from_secs(3_600);
        let issued = self.authority.issue_agent(&request, group, agent, now, lifetime).unwrap();
        Issued { certificate: issued.pem, bundle: self.authority.bundle_pem() }
    }

    /// A member with its peer port open.
    pub(crate) async fn member(&self, agent: u64, group: u64) -> Member {
        let identity = self.identity(agent, group);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let options = Options {
            group: identity.facts.group,
            me: identity.facts.agent,
            name: format!("a{agent}"),
            peer_address: address.clone(),
            version: crate::VERSION.into(),
            data_dir: self.folder(&format!("agent-{agent}-{group}")),
            profile: Profile::Lan,
        };
        let group = Group::open(options, Arc::new(Dialer::new(&identity).unwrap())).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(Listener::new(socket, &identity).unwrap().run(group.clone(), stop.clone()));
        Member { id: identity.facts.agent, group, identity, address, stop }
    }
}

/// A member of a group without the rest of an agent.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: AgentId,
    pub(crate) group: Group,
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
}

impl Member {
    pub(crate) async fn put(&self, name: &str, target: &str) -> u64 {
        let target = target.parse().unwrap();
        let resource = Resource { target, policy: Default::default(), description: String::new() };
        let change = Change::PutResource { name: name.parse().unwrap(), resource };
        let command = Command::Config { expected: None, change };
        let answer = self.group.propose(RequestId(rand::random()), "test", command, PATIENCE).await;
        let revision = answer.unwrap().unwrap().revision;
        let mut view = self.group.watch();
        let seen = view.wait_for(|view| view.state.revision >= revision);
        timeout(PATIENCE, seen).await.unwrap().unwrap();
        revision
    }

    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        self.group.shutdown().await;
    }
}

/// Settings that let everything pass, with patience.
pub(crate) fn live() -> Live {
    Live {
        veto: Rules::default(),
        drain: PATIENCE,
        dial_timeout: PATIENCE,
        probe_interval: PATIENCE,
        probe_timeout: PATIENCE,
        log: None,
    }
}

/// Sends back what comes, on every connection.
pub(crate) async fn echo_target() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}
