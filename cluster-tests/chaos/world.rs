//! The site that is hurt: each agent reaches the gateway through a relay of its own, and its peers reach it through another.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Options, ledger::DRAIN, plan::FOUNDERS};
use crate::{
    AgentProcess, GROUP, Relay, Site,
    history::Editors,
    http,
    load::{Answers, Exchange},
    relay,
    rpc::admin::{Changed, ConfigDocument, GetConfig, SetConfig},
    target,
};

/// Much is said, so that a secret among it would be found.
const LOG: &str = "info,warren_gateway=debug,warren_agent=debug,warren_group=debug,warren_identity=debug";
/// Addresses that the site's veto and the group's rules deny, each by itself.
const VETOED: &str = "127.0.0.2";
const RULED_OUT: &str = "127.0.0.3";

#[derive(Debug)]
pub(super) struct World {
    pub(super) site: Site,
    /// Of the site's agents, by their position.
    pub(super) members: Vec<Ways>,
    pub(super) newcomer: Option<Newcomer>,
    newcomers: usize,
    /// Where callers reach the resources.
    pub(super) answers: SocketAddr,
    pub(super) bulk: SocketAddr,
    pub(super) forbidden: [SocketAddr; 2],
    pub(super) exchange: Arc<Exchange>,
    tripped: Arc<AtomicUsize>,
    /// Tokens that were handed out.
    pub(super) tokens: Vec<String>,
}

/// The ways to and from an agent.
#[derive(Debug)]
pub(super) struct Ways {
    /// From it to the gateway.
    pub(super) tunnels: Relay,
    /// From its peers to it.
    pub(super) peers: Relay,
    /// Keeps the port that it listens on.
    _port: OwnedFd,
    listens: SocketAddr,
}

/// An agent that came later.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) agent: AgentProcess,
    _ways: Ways,
}

impl World {
    pub(super) fn start() -> Self {
        let drain = format!("{}s", DRAIN.as_secs());
        let mut site = Site::builder().gateway_args(&["--drain", &drain, "--log", LOG]).start();
        let file = site.path("agent.yaml");
        fs::write(file, format!("veto:\n  deny: [{VETOED}/32]\n")).expect("the site's directory");
        let mut members = Vec::new();
        let mut tokens = Vec::new();
        for number in 1..=FOUNDERS {
            let (ways, token) = (Ways::new(&site), site.token(&[]));
            let mut agent = launch(&site, &format!("agent-{number}"), &ways, &token);
            agent.id = id(&mut agent);
            site.agents.push(agent);
            members.push(ways);
            tokens.push(token);
        }
        site.wait_for_members(FOUNDERS);
        // Before there is a resource there: a member probes what it hears of.
        rule_out(&site);
        let tripped = Arc::new(AtomicUsize::new(0));
        let forbidden = [("vetoed", VETOED), ("ruled-out", RULED_OUT)]
            .map(|(name, address)| site.resource(name, tripwire(address, tripped.clone())));
        let exchange = Arc::new(Exchange::start(u64::MAX));
        let answers = site.resource("answers", Answers::new().address);
        let bulk = site.resource("bulk", exchange.address);
        Self {
            site,
            members,
            newcomer: None,
            newcomers: 0,
            answers,
            bulk,
            forbidden,
            exchange,
            tripped,
            tokens,
        }
    }

    /// Begins to edit the config.
    pub(super) fn edit(&mut self, options: &Options, start: Instant) -> Editors {
        Editors::start(&mut self.site, target::echo(), options.load.editors, start, options.seed)
    }

    /// Starts one more agent.
    pub(super) fn welcome(&mut self, token: &str) {
        self.newcomers += 1;
        let ways = Ways::new(&self.site);
        let agent = launch(&self.site, &format!("newcomer-{}", self.newcomers), &ways, token);
        self.newcomer = Some(Newcomer { agent, _ways: ways });
        self.tokens.push(token.to_owned());
    }

    /// How often somebody reached what is denied.
    pub(super) fn tripped(&self) -> usize {
        self.tripped.load(SeqCst)
    }

    /// Position of the founder that leads by its own account; those that cannot answer are not asked.
    pub(super) fn leader(&mut self, mute: &[usize]) -> Option<usize> {
        let leads = |agent: &mut AgentProcess| {
            let answers = agent.process.exited().is_none() && agent.process.is_ready();
            let address = answers.then(|| agent.process.address("metrics"))?;
            let (_, text) = http::get(address, "/metrics").ok()?;
            (http::sum(&text, "warren_raft_is_leader", "") == 1.0).then_some(())
        };
        (0..FOUNDERS).find(|index| !mute.contains(index) && leads(&mut self.site.agents[*index]).is_some())
    }

    pub(super) fn home(&self) -> PathBuf {
        self.site.path("")
    }
}

impl Newcomer {
    /// Its id, once it was ready.
    pub(super) fn id(&mut self) -> Option<String> {
        if self.agent.id.is_empty() && self.agent.process.is_ready() {
            self.agent.id = id(&mut self.agent);
        }
        Some(self.agent.id.clone()).filter(|id| !id.is_empty())
    }
}

impl Ways {
    fn new(site: &Site) -> Self {
        let (port, listens) = relay::reserved_port();
        Self { tunnels: Relay::start(site.listen()), peers: Relay::start(listens), _port: port, listens }
    }
}

fn launch(site: &Site, name: &str, ways: &Ways, token: &str) -> AgentProcess {
    let data = site.path(name).join("data");
    let file = site.path("agent.yaml");
    let drain = format!("{}s", DRAIN.as_secs());
    let args = [
        "agent",
        "--name",
        name,
        "--data-dir",
        &data.to_string_lossy(),
        "--config",
        &file.to_string_lossy(),
        "--token",
        token,
        "--gateway",
        &ways.tunnels.url(),
        "--ca",
        &site.ca(),
        "--peer-listen",
        &ways.listens.to_string(),
        "--peer-advertise",
        &ways.peers.address().to_string(),
        "--metrics",
        "127.0.0.1:0",
        "--drain",
        &drain,
        "--log",
        LOG,
    ];
    site.launch_agent(name, args.map(String::from).to_vec(), &[])
}

fn id(agent: &mut AgentProcess) -> String {
    agent.process.ready()["id"].as_str().expect("a ready agent has an id").to_owned()
}

/// Listens where nobody should come, and counts who does.
fn tripwire(address: &str, tripped: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).expect("an address of the loopback interface");
    let address = listener.local_addr().expect("a bound listener has an address");
    thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            tripped.fetch_add(1, SeqCst);
        }
    });
    address
}

/// Denies an address by the group's own rules.
fn rule_out(site: &Site) {
    const SOON: Duration = Duration::from_secs(10);
    let admin = site.admin();
    let ask = GetConfig { group: GROUP.to_owned() };
    let config: ConfigDocument = admin.call("Config/Get", ask, SOON).expect("the group's config");
    let document = format!("{}\ndestinations:\n  deny: [{RULED_OUT}/32]\n", config.document.trim_end());
    let ask = SetConfig { group: GROUP.to_owned(), document, expected_revision: Some(config.revision) };
    admin.call::<_, Changed>("Config/Set", ask, SOON).expect("an edit of a group that is well");
}
