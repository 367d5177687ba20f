//! A site of members. Calls between them are plain TCP; who calls is told by the user agent, in place of a certificate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time};
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use warren_core::{
    config::Resource,
    id::{AgentId, GroupId, Name},
    state::{Answer, Change, Command, RequestId},
    view::{GroupView, Role},
};

use crate::{Caller, Group, Options, PeerDialer, Profile, ProposeError, options::Tuning};

/// For everything that must happen at some time, on a machine that is busy with other tests.
pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) fn agent(number: u64) -> AgentId {
    AgentId::from_random(number)
}

/// Members by number, on one network that can be cut.
pub(super) struct Site {
    /// Each site has its own, or members of one test would answer those of another on a port used again.
    pub(super) id: GroupId,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) tuning: Tuning,
    /// Members that nobody reaches and that reach nobody.
    cut: Arc<Mutex<BTreeSet<AgentId>>>,
    /// From whom to whom no call gets through.
    cut_ways: Arc<Mutex<BTreeSet<(AgentId, AgentId)>>>,
    dirs: TempDir,
}

pub(super) struct Running {
    pub(super) group: Group,
    pub(super) address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Plain(pub(super) String);

impl PeerDialer for Plain {
    fn channel(&self, _: AgentId, address: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        endpoint.user_agent(self.0.clone()).unwrap().connect_timeout(Duration::from_secs(1)).connect_lazy()
    }
}

impl Site {
    pub(super) fn new() -> Self {
        Self {
            id: GroupId::from_random(rand::random()),
            running: BTreeMap::new(),
            tuning: Tuning::default(),
            cut: Arc::default(),
            cut_ways: Arc::default(),
            dirs: tempfile::tempdir().unwrap(),
        }
    }

    /// A founded group of `size` voters.
    pub(super) async fn of(size: u64) -> Self {
        let mut site = Self::new();
        site.start(1).await.found().await.unwrap();
        for number in 2..=size {
            site.join(number).await;
        }
        site.until(1, "all vote", |view| voters(view) == usize::try_from(size).unwrap()).await;
        site
    }

    pub(super) fn dir(&self, number: u64) -> PathBuf {
        self.dirs.path().join(number.to_string())
    }

    pub(super) async fn start(&mut self, number: u64) -> Group {
        self.start_at(number, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts a member on an address; one that runs already must be stopped before.
    pub(super) async fn start_at(&mut self, number: u64, address: SocketAddr) -> Group {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = self.options(number, address);
        let dialer = Arc::new(Plain(agent(number).to_string()));
        let group = Group::open_with(options, dialer, self.tuning).await.unwrap();
        let (cut, cut_ways, id) = (self.cut.clone(), self.cut_ways.clone(), self.id);
        let admit = move |mut request: Request<()>| {
            let caller = caller_of(&request, id).ok_or_else(|| Status::unauthenticated("nobody"))?;
            let cut = cut.lock().unwrap();
            let way = cut_ways.lock().unwrap().contains(&(caller.agent, agent(number)));
            if way || cut.contains(&caller.agent) || cut.contains(&agent(number)) {
                return Err(Status::unavailable("cut off"));
            }
            request.extensions_mut().insert(caller);
            Ok(request)
        };
        let service = InterceptedService::new(group.service(), admit);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        self.cut.lock().unwrap().remove(&agent(number));
        self.running.insert(number, Running { group: group.clone(), address, server });
        group
    }

    pub(super) fn options(&self, number: u64, address: SocketAddr) -> Options {
        Options {
            group: self.id,
            me: agent(number),
            name: format!("member-{number}"),
            peer_address: address.to_string(),
            version: "1.0".into(),
            data_dir: self.dir(number),
            profile: Profile::Lan,
        }
    }

    pub(super) async fn join(&mut self, number: u64) -> Group {
        let group = self.start(number).await;
        group.join(&self.peers(), SOON).await.unwrap();
        group
    }

    pub(super) fn peers(&self) -> Vec<(AgentId, String)> {
        self.running.iter().map(|(number, running)| (agent(*number), running.address.to_string())).collect()
    }

    pub(super) fn group(&self, number: u64) -> &Group {
        &self.running[&number].group
    }

    pub(super) fn cut(&self, number: u64) {
        self.cut.lock().unwrap().insert(agent(number));
    }

    pub(super) fn mend(&self, number: u64) {
        self.cut.lock().unwrap().remove(&agent(number));
    }

    /// Calls of `from` do not reach `to` any more; those of `to` reach `from`.
    pub(super) fn cut_way(&self, from: u64, to: u64) {
        self.cut_ways.lock().unwrap().insert((agent(from), agent(to)));
    }

    /// Ends a member as its peers see it: no connection of it lives on. Answers where it listened.
    pub(super) async fn stop(&mut self, number: u64) -> SocketAddr {
        self.cut(number);
        let running = self.running.remove(&number).unwrap();
        running.server.abort();
        running.group.shutdown().await;
        running.address
    }

    pub(super) async fn until(
        &self,
        number: u64,
        what: &str,
        wanted: impl Fn(&GroupView) -> bool,
    ) -> Arc<GroupView> {
        let mut view = self.group(number).watch();
        let found =
            time::timeout(SOON, view.wait_for(|view| wanted(view))).await.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("member {number}: not {what}: {:#?}", view.borrow()))
    }

    /// The member that leads with a quorum.
    pub(super) async fn leader(&self) -> u64 {
        let deadline = time::Instant::now() + SOON;
        while time::Instant::now() < deadline {
            for (number, running) in &self.running {
                let view = running.group.watch().borrow().clone();
                if view.leads() && view.quorum {
                    return *number;
                }
            }
            time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody leads");
    }

    pub(super) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.running.keys().find(|number| **number != leader).unwrap()
    }

    pub(super) async fn put(&self, number: u64, request: u128, name: &str) -> Result<Answer, ProposeError> {
        self.group(number).propose(RequestId(request), "ann", put(name, "db:5432"), SOON).await
    }

    /// Asks member `number` to take `leaver` out for good.
    pub(super) async fn remove(&self, number: u64, leaver: AgentId) -> Result<Answer, ProposeError> {
        self.group(number).remove_member(RequestId(rand::random()), "ann", leaver, SOON).await
    }

    pub(super) async fn end(mut self) {
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            self.stop(number).await;
        }
    }
}

pub(super) fn caller_of(request: &Request<()>, group: GroupId) -> Option<Caller> {
    let name = request.metadata().get("user-agent")?.to_str().ok()?;
    let agent = name.split(' ').next()?.parse().ok()?;
    Some(Caller { group, agent })
}

pub(super) fn put(name: &str, target: &str) -> Command {
    let resource: Resource = serde_json::from_value(serde_json::json!({ "target": target })).unwrap();
    Command::Config { expected: None, change: Change::PutResource { name: name.parse().unwrap(), resource } }
}

pub(super) fn has(view: &GroupView, name: &str) -> bool {
    view.state.config.resources.contains_key(&name.parse::<Name>().unwrap())
}

pub(super) fn voters(view: &GroupView) -> usize {
    view.roles.values().filter(|role| **role == Role::Voter).count()
}
