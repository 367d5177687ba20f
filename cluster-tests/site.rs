use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Place, Process, Relay, eventually, netns, rpc::Rpc, warren};

/// Longer than a process takes to drain and end.
const STOPS_WITHIN: Duration = Duration::from_secs(40);

/// The group that every site has.
pub const GROUP: &str = "site";

/// A gateway, one group, and its agents, all on loopback.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    pub gateway: Process,
    gateway_args: Vec<String>,
    gateway_place: Place,
    gateway_ready: Value,
    pub agents: Vec<AgentProcess>,
}

/// An agent and what it takes to start it again.
#[derive(Debug)]
pub struct AgentProcess {
    pub name: String,
    /// Empty until it was ready once.
    pub id: String,
    pub process: Process,
    dir: PathBuf,
    args: Vec<String>,
    place: Place,
}

/// What the CLI did.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// How a site is made.
#[derive(Debug, Default)]
pub struct SiteBuilder {
    gateway_args: Vec<String>,
    gateway_file: Option<String>,
    gateway_place: Option<Place>,
}

impl SiteBuilder {
    /// More flags for the gateway.
    pub fn gateway_args(mut self, args: &[&str]) -> Self {
        self.gateway_args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// The gateway's configuration file.
    pub fn gateway_file(mut self, yaml: &str) -> Self {
        self.gateway_file = Some(yaml.to_owned());
        self
    }

    /// Where the gateway runs.
    pub fn gateway_in(mut self, place: Place) -> Self {
        self.gateway_place = Some(place);
        self
    }

    /// Starts the gateway and one agent with so many tunnels, all of them through a relay. `agent_file` is the agent's
    /// configuration file.
    pub fn behind_relay(self, tunnels: usize, agent_file: &str) -> (Site, Relay) {
        let mut site = self.start();
        let relay = Relay::start(site.listen());
        let file = site.path("agent.yaml");
        fs::write(&file, agent_file).expect("the site's directory can be written");
        site.add_agent_through(
            &relay,
            "agent-1",
            &["--tunnels", &tunnels.to_string(), "--config", &text(&file)],
        );
        site.wait_for_members(1);
        site.wait_for_tunnels(&relay, tunnels);
        (site, relay)
    }

    /// Starts the gateway and makes the group; no agent yet.
    pub fn start(self) -> Site {
        let dir = tempfile::Builder::new().prefix("warren-test-").tempdir().expect("a temporary directory");
        let home = dir.path().join("gateway");
        let place = self.gateway_place.unwrap_or_else(here);
        let any = any_port(&place);
        let mut args: Vec<String> =
            ["gateway", "--listen", &any, "--metrics", &any, "--data-dir"].map(String::from).to_vec();
        args.push(text(&home.join("data")));
        args.extend(self.gateway_args);
        if let Some(yaml) = self.gateway_file {
            let file = dir.path().join("gateway.yaml");
            fs::write(&file, yaml).expect("a temporary directory can be written");
            args.extend(["--config".to_owned(), text(&file)]);
        }
        let mut gateway = Process::start("gateway", &home, &args, &place);
        let gateway_ready = gateway.ready();
        // A restart must come back where the agents look for it.
        args[2] = field(&gateway_ready, "listen");
        let (gateway_args, agents) = (args, Vec::new());
        let site = Site { dir, gateway, gateway_args, gateway_place: place, gateway_ready, agents };
        site.run(&["groups", "create", GROUP]).ok();
        site
    }
}

impl Site {
    pub fn builder() -> SiteBuilder {
        SiteBuilder::default()
    }

    /// A gateway and a group of `count` agents, all of them ready.
    pub fn with_agents(count: usize) -> Self {
        let mut site = Self::builder().start();
        for number in 1..=count {
            site.add_agent(&format!("agent-{number}"), &[]);
        }
        site.wait_for_members(count);
        site
    }

    /// Waits until the first agent has so many verified tunnels, and nothing else goes through the relay.
    pub fn wait_for_tunnels(&self, relay: &Relay, count: usize) {
        eventually(&format!("{count} tunnels through the relay"), Duration::from_secs(40), || {
            let status = self.run(&["groups", "status", GROUP]).try_json()?;
            let agent = status["members"].as_array()?.iter().find(|one| one["id"] == self.agents[0].id)?;
            (agent["tunnels"] == count && relay.connections().len() == count).then_some(())
        });
    }

    /// Enrols and starts one more agent, and waits until it is ready.
    pub fn add_agent(&mut self, name: &str, more: &[&str]) -> &mut AgentProcess {
        self.add_agent_at(&self.url(), &here(), name, more)
    }

    /// As [`Site::add_agent`], for an agent that runs somewhere else.
    pub fn add_agent_in(&mut self, place: &Place, name: &str, more: &[&str]) -> &mut AgentProcess {
        self.add_agent_at(&self.url(), place, name, more)
    }

    /// As [`Site::add_agent`], for an agent that knows no other way to the gateway than the relay.
    pub fn add_agent_through(&mut self, relay: &Relay, name: &str, more: &[&str]) -> &mut AgentProcess {
        self.add_agent_at(&relay.url(), &here(), name, more)
    }

    fn add_agent_at(&mut self, url: &str, place: &Place, name: &str, more: &[&str]) -> &mut AgentProcess {
        let token = self.token(&[]);
        let mut agent = self.start_agent_at(url, place, name, &token, more);
        agent.id = field(&agent.process.ready(), "id");
        self.agents.push(agent);
        self.agents.last_mut().expect("it was just pushed")
    }

    /// Starts an agent with any token; it may or may not become ready.
    pub fn start_agent(&self, name: &str, token: &str, more: &[&str]) -> AgentProcess {
        self.start_agent_at(&self.url(), &here(), name, token, more)
    }

    fn start_agent_at(
        &self,
        url: &str,
        place: &Place,
        name: &str,
        token: &str,
        more: &[&str],
    ) -> AgentProcess {
        let (dir, any) = (self.path(name), any_port(place));
        let own = ["agent", "--peer-listen", &any, "--metrics", &any, "--name", name];
        let mut args: Vec<String> = own.map(String::from).to_vec();
        args.extend(["--data-dir".into(), text(&dir.join("data")), "--token".into(), token.to_owned()]);
        args.extend(["--gateway".into(), url.to_owned(), "--ca".into(), self.ca()]);
        args.extend(more.iter().map(ToString::to_string));
        self.launch_agent_in(place, name, args)
    }

    /// Starts an agent with just these arguments and variables, and a ready file.
    pub fn launch_agent(&self, name: &str, args: Vec<String>, env: &[(&str, String)]) -> AgentProcess {
        let place = env.iter().fold(here(), |place, (key, value)| place.with(key, value.clone()));
        self.launch_agent_in(&place, name, args)
    }

    fn launch_agent_in(&self, place: &Place, name: &str, args: Vec<String>) -> AgentProcess {
        let dir = self.path(name);
        let process = Process::start(name, &dir, &args, place);
        AgentProcess { name: name.to_owned(), id: String::new(), process, dir, args, place: place.clone() }
    }

    /// Starts a second process from a copy of an agent's folder, as it is at this moment.
    pub fn copy_agent(&self, index: usize, directory: &str) -> AgentProcess {
        let agent = &self.agents[index];
        let (from, dir) = (agent.data(), self.path(directory));
        let to = dir.join("data");
        fs::create_dir_all(&to).expect("the site's directory can be written");
        for file in fs::read_dir(&from).expect("an agent's folder") {
            let name = file.expect("an agent's folder").file_name();
            fs::copy(from.join(&name), to.join(&name)).expect("an agent's folder holds files only");
        }
        let (from, to) = (text(&from), text(&to));
        let args = agent.args.iter().map(|arg| if *arg == from { to.clone() } else { arg.clone() });
        let mut twin = self.launch_agent_in(&agent.place, directory, args.collect());
        twin.id = agent.id.clone();
        twin
    }

    /// A registration token of the site's group.
    pub fn token(&self, more: &[&str]) -> String {
        self.token_of(GROUP, more)
    }

    /// A registration token of any group.
    pub fn token_of(&self, group: &str, more: &[&str]) -> String {
        let mut args = vec!["tokens", "create", "--group", group, "--org-only"];
        args.extend(more);
        field(&self.json(&args), "token")
    }

    /// Creates a resource and returns the address where callers reach it.
    pub fn resource(&self, name: &str, target: impl ToString) -> SocketAddr {
        let (target, any) = (target.to_string(), any_port(&self.gateway_place));
        let create = ["resources", "create", name, "--group", GROUP, "--target", &target, "--listen", &any];
        let answer = self.json(&create);
        field(&answer, "listen").parse().expect("a listener has an address")
    }

    /// `groups status` of the site's group.
    pub fn status(&self) -> Value {
        self.json(&["groups", "status", GROUP])
    }

    /// The member in `groups status`; null when the group does not show it.
    pub fn member(&self, id: &str) -> Value {
        let status = self.status();
        let member = status["members"].as_array().and_then(|all| all.iter().find(|one| one["id"] == id));
        member.cloned().unwrap_or_default()
    }

    /// How the group shows the member now; empty when it does not show it.
    pub fn member_status(&self, id: &str) -> String {
        self.member(id)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The gateway's records of a resource's sessions, open and ended, newest first.
    pub fn sessions(&self, resource: &str) -> Vec<Value> {
        let list =
            ["sessions", "list", "--group", GROUP, "--resource", resource, "--all", "--limit", "10000"];
        let listed = self.json(&list);
        listed.as_array().unwrap_or_else(|| panic!("no list: {listed}")).clone()
    }

    /// How many of them each member, by its id, carries or has carried.
    pub fn spread(&self, resource: &str) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for session in self.sessions(resource) {
            if let Some(member) = session["member"].as_str() {
                *spread.entry(member.to_owned()).or_default() += 1;
            }
        }
        spread
    }

    /// Waits until the group shows `count` active members that are all voters and know the same revision.
    pub fn wait_for_members(&self, count: usize) {
        eventually(&format!("{count} active members"), Duration::from_secs(60), || {
            let status = self.run(&["groups", "status", GROUP]).try_json()?;
            let members = status["members"].as_array()?;
            let fine = |member: &&Value| {
                member["status"] == "Active"
                    && (member["role"] == "voter" || member["role"] == "leader")
                    && member["revision"] == status["revision"]
            };
            (members.iter().filter(fine).count() == count).then_some(())
        });
    }

    /// Position of the agent that leads the group.
    pub fn leader(&self) -> usize {
        let (leader, _) = eventually("the group has a leader", Duration::from_secs(20), || {
            let leader = self.run(&["groups", "status", GROUP]).try_json()?["leader"].as_str()?.to_owned();
            self.agents.iter().position(|agent| agent.id == leader)
        });
        leader
    }

    pub fn kill_gateway(&mut self) {
        self.gateway.kill();
    }

    /// SIGTERM, and a start of the program of that place, on the same data.
    pub fn upgrade_gateway(&mut self, place: Place) {
        self.gateway.terminate();
        self.gateway.wait(STOPS_WITHIN);
        self.gateway_place = place;
        self.restart_gateway();
    }

    pub fn restart_gateway(&mut self) {
        self.gateway =
            Process::start("gateway", &self.path("gateway"), &self.gateway_args, &self.gateway_place);
        self.gateway_ready = self.gateway.ready();
    }

    /// Runs the CLI as an admin.
    pub fn run(&self, args: &[&str]) -> Answer {
        self.run_as(args, &[])
    }

    /// Runs the CLI with other environment variables on top of an admin's.
    pub fn run_as(&self, args: &[&str], env: &[(&str, &str)]) -> Answer {
        let mut command = warren();
        command
            .env("WARREN_API", self.url())
            .env("WARREN_CA", self.ca())
            .env("WARREN_TOKEN", format!("@{}", field(&self.gateway_ready, "token")))
            .env("HOME", self.dir.path())
            .envs(env.iter().copied())
            .args(args)
            .args(["--output", "json"]);
        Answer::from(command.output().expect("the binary runs"))
    }

    /// Runs the CLI, which must succeed, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let answer = self.run(args).ok();
        answer.try_json().unwrap_or_else(|| panic!("{args:?} printed no JSON: {answer:?}"))
    }

    /// The admin API without the CLI, for who asks often.
    pub fn admin(&self) -> Rpc {
        let token = fs::read_to_string(field(&self.gateway_ready, "token")).expect("the first admin's token");
        let url = self.url();
        let name = url.trim_start_matches("https://").rsplit_once(':').map_or(&*url, |(host, _)| host);
        Rpc::to_gateway(self.listen(), name, Path::new(&self.ca()), token.trim())
    }

    pub fn url(&self) -> String {
        field(&self.gateway_ready, "url")
    }

    pub fn ca(&self) -> String {
        field(&self.gateway_ready, "ca")
    }

    /// Where the gateway's one port listens.
    pub fn listen(&self) -> SocketAddr {
        field(&self.gateway_ready, "listen").parse().expect("the gateway has an address")
    }

    /// A directory of the site's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl AgentProcess {
    /// Starts it again with the same identity, and does not wait.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = Process::start(&self.name, &self.dir, &self.args, &self.place);
    }

    /// Starts the program of that place on the same data, once this one has ended; does not wait until it is ready.
    pub fn start_in(&mut self, place: Place) {
        self.place = place;
        self.restart();
    }

    /// Where its key, certificate and log are kept, unless it was launched with another folder.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Answer {
    /// Panics unless the command succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "the command failed: {}{}", self.stdout, self.stderr);
        self
    }

    pub fn try_json(&self) -> Option<Value> {
        serde_json::from_str(&self.stdout).ok()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Site {
    /// A failed test keeps its directories, and says where.
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            #[expect(clippy::print_stderr, reason = "for whoever reads the failed test")]
            {
                eprintln!("logs are kept in {}", self.dir.path().display());
            }
        }
    }
}

/// Where this thread's own servers are, too.
fn here() -> Place {
    Place { address: netns::here(), ..Place::default() }
}

/// Any free port of the place.
fn any_port(place: &Place) -> String {
    format!("{}:0", place.address)
}

/// A text field of a JSON object; panics when it is not there.
fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}")).to_owned()
}

fn text(path: &Path) -> String {
    path.to_str().expect("a temporary path is text").to_owned()
}
