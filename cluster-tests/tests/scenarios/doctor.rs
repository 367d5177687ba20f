//! `warren doctor` beside an agent: it names the hop that fails, and the agent feels nothing of it.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use warren_cluster_tests::{Answer, Site, caller, eventually, target, warren};

/// Runs it for the site's first agent as an admin there would, with more flags; those of `gateways` in place of the site's.
fn doctor(site: &mut Site, gateways: &[&str], ca: &str, more: &[&str]) -> Answer {
    let metrics = site.agents[0].process.address("metrics").to_string();
    let data = site.agents[0].data();
    let mut command = warren();
    command.args(["doctor", "--data-dir", data.to_str().unwrap(), "--ca", ca, "--metrics", &metrics]);
    for url in gateways {
        command.args(["--gateway", url]);
    }
    Answer::from(command.args(more).env("HOME", site.path("home")).output().unwrap())
}

fn json(answer: &Answer) -> Value {
    answer.try_json().unwrap_or_else(|| panic!("no JSON: {answer:?}"))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {report}"))
}

fn listed(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[test]
fn all_is_well_beside_a_running_agent_which_feels_nothing() {
    let mut site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    let open = caller::open_echo(echo).unwrap();
    let (url, ca) = (site.url(), site.ca());
    let (before, log) = (listed(&site.agents[0].data()), site.agents[0].process.log());
    // The agent has to have probed the resource before it can tell.
    let (report, _) = eventually("the target is told", Duration::from_secs(20), || {
        let report = json(&doctor(&mut site, &[&url], &ca, &["--output", "json"]));
        let told = report["checks"].as_array()?.iter().any(|check| check["name"] == "target");
        told.then_some(report)
    });
    assert_eq!(report["ok"], true, "{report}");
    for name in ["settings", "folder", "identity", "roots", "way", "tcp", "tls", "answer", "agent", "peers"] {
        assert_eq!(check(&report, name)["status"], "ok", "{report}");
    }
    let of = check(&report, "target");
    assert_eq!((&of["of"], &of["status"]), (&"echo".into(), &"ok".into()), "{report}");
    assert!(check(&report, "identity")["seen"].as_str().unwrap().contains(&site.agents[0].id), "{report}");
    assert!(check(&report, "tls")["ms"].as_f64() > Some(0.0), "{report}");

    let people = doctor(&mut site, &[&url], &ca, &[]).ok();
    let answer = format!("ok       answer of {url}: the gateway takes this agent's certificate");
    assert!(people.stdout.contains(&answer), "{people:?}");
    // It has no copy of the log or of a lock, and no tunnel was made or pushed aside.
    assert_eq!(listed(&site.agents[0].data()), before);
    let said = site.agents[0].process.log().split_off(log.len());
    assert!(!said.contains("tunnel ended") && !said.contains("WARN"), "{said}");
    assert_eq!(site.member(&site.agents[0].id)["tunnels"], 2);
    drop(open);
}

#[test]
fn a_root_of_another_gateway_is_named() {
    let mut site = Site::with_agents(1);
    let other = Site::builder().start();
    let (url, ca) = (site.url(), other.ca());
    // An enrolled agent also trusts what came with its certificate; a new one has nothing but this file.
    let data = site.path("new");
    let new = ["--data-dir", data.to_str().unwrap(), "--token", &site.token(&[]), "--output", "json"]
        .map(String::from);
    let mut command = warren();
    let answer =
        Answer::from(command.args(["doctor", "--gateway", &url, "--ca", &ca]).args(new).output().unwrap());
    assert_eq!(answer.code, 4, "{answer:?}");
    let report = json(&answer);
    let tls = check(&report, "tls");
    assert_eq!(tls["status"], "failed", "{report}");
    assert!(tls["seen"].as_str().unwrap().contains("Warren gateway authority"), "{report}");
    assert!(tls["advice"].as_str().unwrap().contains("--ca"), "{report}");
    assert!(!data.exists() && !answer.stdout.contains("eyJ"), "{answer:?}");

    let known = doctor(&mut site, &[&url], &ca, &["--output", "json"]).ok();
    assert!(json(&known)["ok"] == true, "the roots that came with the certificate vouch for it: {known:?}");
}

#[test]
fn a_gateway_that_is_away_is_told_by_its_hop_and_the_exit_code() {
    let mut site = Site::with_agents(1);
    let (url, ca) = (site.url(), site.ca());
    site.kill_gateway();
    let answer = doctor(&mut site, &[&url], &ca, &[]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stdout.contains(&format!("failed   tcp of {url}: ")), "{answer:?}");
    assert!(answer.stdout.contains("-> nothing listens there"), "{answer:?}");
    assert!(answer.stderr.starts_with(&format!("error: failed: tcp of {url}")), "{answer:?}");
}

#[test]
fn a_revoked_agent_and_a_target_that_refuses_are_named() {
    let mut site = Site::with_agents(1);
    let (url, ca) = (site.url(), site.ca());
    site.resource("refusing", target::refusing());
    let (answer, _) = eventually("the target is down", Duration::from_secs(40), || {
        let answer = doctor(&mut site, &[&url], &ca, &["--output", "json"]);
        let report = json(&answer);
        let down = |check: &Value| check["name"] == "target" && check["status"] == "failed";
        report["checks"].as_array()?.iter().any(down).then_some(answer)
    });
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(check(&json(&answer), "target")["of"], "refusing");

    // Before its first start, by the quick start's settings alone.
    let quick = target::refusing();
    let (host, port) = (quick.ip().to_string(), quick.port().to_string());
    let answer = doctor(&mut site, &[&url], &ca, &["--app-host", &host, "--app-port", &port]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains(&format!("failed   target of {quick}: {quick} refused")), "{answer:?}");

    let id = site.agents[0].id.clone();
    site.run(&["agents", "revoke", &id, "--force"]).ok();
    let (answer, _) = eventually("the gateway says no", Duration::from_secs(10), || {
        let answer = doctor(&mut site, &[&url], &ca, &[]);
        answer.stdout.contains("failed   answer of").then_some(answer)
    });
    assert!(answer.code == 1 && answer.stdout.contains("403"), "{answer:?}");
    assert!(answer.stdout.contains("enrol it with a new token"), "{answer:?}");
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let mut command = warren();
    let answer = command.args(["doctor", "--gateway", "http://x", "--peer-listen", "nope", "-o", "json"]);
    let answer = Answer::from(answer.output().unwrap());
    assert_eq!(answer.code, 2, "{answer:?}");
    let report = json(&answer);
    let seen = check(&report, "settings")["seen"].as_str().unwrap();
    assert!(seen.contains("http://x") && seen.contains("peer_listen"), "{report}");

    let (reader, nobody) = std::io::pipe().unwrap();
    drop(reader);
    let unread = warren().args(["doctor", "--gateway", "http://x"]).stdout(nobody).output().unwrap();
    assert_eq!(unread.status.code(), Some(2), "the code tells it when nobody reads: {unread:?}");
}
