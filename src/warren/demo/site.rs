//! The demo's gateway, group and agents.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use warren_wire::v1;

use super::{
    display::Display,
    process::{self, Process},
    targets::Targets,
};
use crate::client::{Access, Api, answer};

pub(super) const GROUP: &str = "demo";
pub(super) const ECHO: &str = "echo";
pub(super) const WEB: &str = "web";
/// How many agents the group has.
pub(super) const MEMBERS: usize = 3;

const FORMED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Site {
    folder: PathBuf,
    gateway: Process,
    facts: GatewayFacts,
    pub(super) agents: Vec<Agent>,
    pub(super) api: Api,
    pub(super) echo: String,
    pub(super) web: String,
    _targets: Targets,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) name: String,
    process: Process,
}

/// The parts of the gateway's ready file that are used here.
#[derive(Debug, Deserialize)]
struct GatewayFacts {
    url: String,
    ca: PathBuf,
    token: PathBuf,
}

#[derive(Debug, Deserialize)]
struct AgentFacts {
    id: String,
}

impl Site {
    /// Returns when every member votes and every resource is usable through every member.
    pub(super) async fn start(folder: &Path, display: &mut Display) -> anyhow::Result<Self> {
        display.begin("starting a gateway");
        let listen = ["--listen", "127.0.0.1:0"].map(String::from);
        let mut gateway = process::start(folder, "gateway", "gateway", &listen)?;
        let facts: GatewayFacts = gateway.ready().await?;
        let token = format!("@{}", facts.token.display());
        let api = Api::connect(&Access::new(&facts.url, &token, Some(facts.ca.clone()))?).await?;
        display.done(&format!("gateway at {}", facts.url));

        display.begin("enrolling three agents");
        let jwt = folder.join("agents.jwt");
        enrolment(&api, &jwt).await?;
        let starts =
            (1..=MEMBERS).map(|number| Agent::enrol(folder, format!("agent-{number}"), &facts, &jwt));
        let agents = try_join_all(starts).await?;
        display.done("three agents enrolled with one token, each with a key and certificate of its own");

        display.begin("waiting for the group to agree on its configuration");
        let targets = Targets::start().await?;
        let echo = resource(&api, ECHO, targets.echo.to_string()).await?;
        let web = resource(&api, WEB, targets.web.to_string()).await?;
        let folder = folder.to_owned();
        let site = Self { folder, gateway, facts, agents, api, echo, web, _targets: targets };
        let status = site.until("every member votes and has the configuration", is_formed).await?;
        let leader = site.name_of(&status.leader);
        display.done(&format!("the group votes, {leader} leads, revision {}", status.revision));
        display.done(&format!("{ECHO} is at {}, {WEB} at {}", site.echo, site.web));
        Ok(site)
    }

    pub(super) async fn status(&self) -> anyhow::Result<v1::GroupStatus> {
        Ok(answer(self.api.groups().status(v1::GroupStatusRequest { group: GROUP.into() })).await?)
    }

    /// Asks for the group's status until it is as wanted.
    pub(super) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&v1::GroupStatus) -> bool,
    ) -> anyhow::Result<v1::GroupStatus> {
        let deadline = Instant::now() + FORMED;
        loop {
            let status = self.status().await?;
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("waited {} s in vain until {what}: {status:?}", FORMED.as_secs());
            }
            sleep(LOOK).await;
        }
    }

    /// An agent's name, or the id as it is when no agent of ours has it.
    pub(super) fn name_of(&self, id: &str) -> String {
        self.agents
            .iter()
            .find(|agent| agent.id == id)
            .map_or_else(|| id.to_owned(), |agent| agent.name.clone())
    }

    /// SIGKILL; returns when the process is gone.
    pub(super) async fn kill(&mut self, agent: usize) -> anyhow::Result<()> {
        self.agents[agent].process.kill().await
    }

    /// Starts a killed agent again, on what it kept in its folder. Returns at once.
    pub(super) fn restart(&mut self, agent: usize) -> anyhow::Result<()> {
        let name = self.agents[agent].name.clone();
        self.agents[agent].process = spawn(&self.folder, &name, &self.facts, None)?;
        Ok(())
    }

    /// Ends the agents first, so that each can say goodbye.
    pub(super) async fn stop(&mut self) {
        join_all(self.agents.iter_mut().map(|agent| agent.process.stop())).await;
        self.gateway.stop().await;
    }

    /// Commands to copy.
    pub(super) fn how_to_try(&self) -> Vec<String> {
        let program =
            std::env::current_exe().map_or_else(|_| "warren".into(), |path| path.display().to_string());
        let GatewayFacts { url, ca, token } = &self.facts;
        let port = self.echo.rsplit(':').next().unwrap_or_default();
        vec![
            String::new(),
            "It stays up until Ctrl-C. In another terminal:".into(),
            String::new(),
            format!("  export WARREN_API={url} WARREN_TOKEN=@{} WARREN_CA={}", token.display(), ca.display()),
            format!("  {program} groups status {GROUP}"),
            format!("  {program} sessions list --all --limit 10"),
            format!("  {program} agents drain {}", self.agents[0].name),
            format!("  curl http://{}/", self.web),
            format!("  nc 127.0.0.1 {port}          # says back what you type"),
        ]
    }
}

impl Agent {
    async fn enrol(folder: &Path, name: String, gateway: &GatewayFacts, jwt: &Path) -> anyhow::Result<Self> {
        let mut process = spawn(folder, &name, gateway, Some(jwt))?;
        let AgentFacts { id } = process.ready().await?;
        Ok(Self { id, name, process })
    }
}

fn spawn(folder: &Path, name: &str, gateway: &GatewayFacts, jwt: Option<&Path>) -> anyhow::Result<Process> {
    let ca = gateway.ca.display().to_string();
    let mut arguments: Vec<String> =
        ["--gateway", &gateway.url, "--ca", &ca, "--name", name, "--peer-listen", "127.0.0.1:0"]
            .map(String::from)
            .into();
    if let Some(jwt) = jwt {
        arguments.extend(["--token".into(), format!("@{}", jwt.display())]);
    }
    process::start(folder, name, "agent", &arguments)
}

/// Makes the group, and a token for as many agents as it will have.
async fn enrolment(api: &Api, jwt: &Path) -> anyhow::Result<()> {
    let group = v1::CreateGroupRequest { name: GROUP.into(), customer: String::new() };
    answer(api.groups().create(group)).await.context("cannot make the group")?;
    let token = v1::CreateTokenRequest {
        group: GROUP.into(),
        org_only: true,
        max_uses: u32::try_from(MEMBERS)?,
        ..Default::default()
    };
    let token = answer(api.tokens().create(token)).await.context("cannot make a token")?.token;
    fs::write(jwt, token).with_context(|| format!("cannot write `{}`", jwt.display()))
}

/// Makes a resource and tells where callers connect.
async fn resource(api: &Api, name: &str, target: String) -> anyhow::Result<String> {
    let request = v1::CreateResourceRequest {
        group: GROUP.into(),
        name: name.into(),
        target,
        listen: "127.0.0.1:0".into(),
        ..Default::default()
    };
    let made = answer(api.resources().create(request)).await;
    Ok(made.with_context(|| format!("cannot make the resource {name}"))?.listen)
}

fn is_formed(status: &v1::GroupStatus) -> bool {
    let serves = |member: &v1::MemberStatus| {
        member.tunnels > 0
            && member.revision >= status.revision
            && member.status == "Active"
            && matches!(member.role.as_str(), "leader" | "voter")
    };
    status.quorum
        && !status.leader.is_empty()
        && status.members.len() == MEMBERS
        && status.members.iter().all(serves)
}
