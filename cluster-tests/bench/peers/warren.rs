//! Warren as customers run it: one gateway, three agents of one group, two tunnels each, p2c.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    time::Duration,
};

use anyhow::{Result, anyhow};
use warren_cluster_tests::{Site, eventually, warren_binary};

use super::{Peer, Place, Running, Tool, WARREN};
use crate::tools::version;

const AGENTS: usize = 3;
const TUNNELS: u64 = 2;

pub(super) const PEER: Peer = Peer {
    name: WARREN,
    how: "a gateway and three agents of one group, two tunnels each, p2c; TLS 1.3, mutual",
    encrypted: true,
    find: |_| {
        let program = warren_binary().to_owned();
        let version = format!("{}, {}", version(&program, &["--version"])?, built_from());
        Ok(Tool { version, programs: vec![program] })
    },
    start,
};

/// The commit, as far as it is known: a binary that was given does not say what it was built from.
fn built_from() -> String {
    if env::var_os("WARREN_BIN").is_some() {
        return "WARREN_BIN, commit unknown".into();
    }
    let describe = ["describe", "--always", "--dirty", "--exclude", "*"];
    let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(describe).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    commit.map_or_else(|| "commit unknown".into(), |commit| format!("commit {commit}"))
}

fn start(_: &Tool, place: &Place) -> Result<Running> {
    // A site panics where a test would fail.
    let started = catch_unwind(AssertUnwindSafe(|| site(place)));
    started.map_err(|panic| anyhow!("{}", text(panic.as_ref())))?
}

fn site(place: &Place) -> Result<Running> {
    let mut site = Site::builder().start();
    let gateway = place.towards(site.listen())?;
    for number in 1..=AGENTS {
        let name = format!("agent-{number}");
        let mut args: Vec<String> =
            ["agent", "--peer-listen", "127.0.0.1:0", "--name", &name].map(String::from).to_vec();
        args.extend(["--data-dir".into(), site.path(&name).join("data").display().to_string()]);
        args.extend(["--token".into(), site.token(&[]), "--ca".into(), site.ca()]);
        args.extend(["--gateway".into(), format!("https://{gateway}")]);
        args.extend(["--tunnels".into(), TUNNELS.to_string()]);
        let mut agent = site.launch_agent(&name, args, &[]);
        agent.process.ready();
        site.agents.push(agent);
    }
    site.wait_for_members(AGENTS);
    eventually("every member has its tunnels", Duration::from_secs(30), || {
        let status = site.status();
        let members = status["members"].as_array()?;
        members.iter().all(|member| member["tunnels"] == TUNNELS).then_some(())
    });
    let entry = site.resource("bench", place.target());
    let server = vec![site.gateway.id()];
    let client = site.agents.iter().map(|agent| agent.process.id()).collect();
    let mut running = Running { entry, server, client, children: Vec::new(), _site: Some(site) };
    running.wait()?;
    Ok(running)
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
