//! pgbench through a group of three while members are killed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use warren_cluster_tests::{GROUP, Site, hold};

use crate::server::{Server, free_address, path, run, text};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const SECONDS: u64 = 60;

pub(crate) fn prove() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("readable");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a data directory");
    run("chown", &["postgres", path(&data)]);
    run("runuser", &["-u", "postgres", "--", &format!("{BIN}/initdb"), "-A", "trust", "-D", path(&data)]);
    let address = free_address();
    let mut postgres = Command::new("setpriv");
    postgres.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", &format!("{BIN}/postgres")]);
    postgres.args(["-D", path(&data), "-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"]);
    postgres.args(["-c", "unix_socket_directories=", "-c", "max_connections=200"]).stderr(Stdio::null());
    let _postgres = Server::start(&mut postgres, address);
    let port = address.port().to_string();
    run("pgbench", &["-i", "-s", "10", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "postgres"]);
    println!("direct: {}", summary(&text(&run("pgbench", &bench(&port, &["-C", "-c", "8", "-T", "10"])))));

    for (what, more) in [("a connection for each transaction", &["-C"][..]), ("eight long connections", &[])]
    {
        println!("-- {what}");
        kills(address, dir.path(), more);
    }
}

fn bench<'a>(port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["-h", "127.0.0.1", "-p", port, "-U", "postgres", "-n"];
    args.extend(more);
    args.push("postgres");
    args
}

/// pgbench for a minute; a member killed at 20 s and restarted at 28 s, the leader killed at 40 s.
fn kills(target: std::net::SocketAddr, dir: &Path, more: &[&str]) {
    let mut site = Site::with_agents(3);
    let address = site.resource("db", target);
    let port = address.port().to_string();
    let seconds = SECONDS.to_string();
    let mut args = vec!["-c", "8", "-T", &seconds, "-P", "10"];
    args.extend(more);
    let log = dir.join("pgbench.log");
    let output = fs::File::create(&log).expect("a log");
    let mut long: Child = Command::new("pgbench")
        .args(bench(&port, &args))
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file handle"))
        .stderr(output)
        .spawn()
        .expect("pgbench starts");
    let start = Instant::now();
    let until = |second: u64| {
        let rest = Duration::from_secs(second).saturating_sub(start.elapsed());
        hold("pgbench runs", rest, || true);
    };

    until(20);
    let follower = (site.leader() + 1) % 3;
    kill(&mut site, follower, &port);
    until(28);
    site.agents[follower].restart();
    site.agents[follower].process.ready();
    site.wait_for_members(3);
    let back = start.elapsed();
    let counts =
        |site: &Site| site.agents.iter().map(|agent| sessions(site, &agent.id, true)).collect::<Vec<_>>();
    let before = counts(&site);
    until(40);
    let taken: Vec<_> = counts(&site).iter().zip(&before).map(|(after, before)| after - before).collect();
    let name = &site.agents[follower].name;
    println!(
        "{name} was ready again at {back:.1?}; sessions taken by each member from then to 40 s: {taken:?}"
    );
    let leader = site.leader();
    kill(&mut site, leader, &port);
    let status = long.wait().expect("pgbench can be waited for");
    let told = fs::read_to_string(&log).unwrap_or_default();
    for line in told.lines().filter(|line| line.contains("aborted") || line.contains("error")) {
        println!("   {line}");
    }
    let aborted = told.lines().filter(|line| line.contains("client") && line.contains("aborted")).count();
    println!("long pgbench: {status}, {aborted} of 8 clients aborted; {}", summary(&told));
    println!("sessions that did not end by themselves: {}", broken(&site));
}

/// Kills an agent, tells what it carried, and runs a fresh pgbench at once, which must be clean.
fn kill(site: &mut Site, index: usize, port: &str) {
    let carried = sessions(site, &site.agents[index].id, false);
    site.agents[index].process.kill();
    let clean = run("pgbench", &bench(port, &["-C", "-c", "4", "-T", "4"]));
    let said = text(&clean);
    assert!(!said.contains("aborted"), "a pgbench started after the kill is clean: {said}");
    println!(
        "killed {} with about {carried} sessions; pgbench right after: {}",
        site.agents[index].name,
        summary(&said)
    );
}

/// How often each member lost a session, and how, by the gateway's records.
fn broken(site: &Site) -> String {
    let records = site.json(&["sessions", "list", "--group", GROUP, "--all", "--limit", "100000"]);
    let records = records.as_array().or_else(|| records["sessions"].as_array()).cloned().unwrap_or_default();
    let mut counts = BTreeMap::new();
    for record in records.iter().filter(|record| record["outcome"] != "closed" && record["outcome"] != "open")
    {
        let name = |id: &str| site.agents.iter().find(|agent| agent.id == id).map(|agent| agent.name.clone());
        let member = record["member"].as_str().and_then(name).unwrap_or_else(|| "no member".to_owned());
        *counts.entry(format!("{} on {member}", record["outcome"])).or_insert(0) += 1;
    }
    format!("{counts:?}")
}

fn sessions(site: &Site, member: &str, all: bool) -> usize {
    let mut args = vec!["sessions", "list", "--group", GROUP, "--member", member, "--limit", "100000"];
    args.extend(all.then_some("--all"));
    let sessions = site.json(&args);
    sessions.as_array().or_else(|| sessions["sessions"].as_array()).map_or(0, Vec::len)
}

fn summary(output: &str) -> String {
    let wanted = ["number of transactions actually", "number of failed", "tps =", "latency average"];
    let lines = output.lines().filter(|line| wanted.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join("; ")
}
