//! Who gets in, and who does not.

use std::{fs, time::Duration};

use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

/// Starts an agent with `token`, which must be refused: the exit code is 3 and the log names the reason.
fn refused(site: &Site, name: &str, token: &str, reason: &str) {
    let mut agent = site.start_agent(name, token, &[]);
    let status = agent.process.wait(Duration::from_secs(30));
    let log = agent.process.log();
    assert_eq!(status.code(), Some(3), "{reason}: {log}");
    assert!(log.contains(reason), "`{reason}` is named: {log}");
    assert!(!log.contains(token), "no token in a log");
}

#[test]
fn each_bad_token_is_refused_with_its_own_reason() {
    let mut site = Site::builder().start();
    let good = site.token(&[]);
    let mut forged = good;
    let middle = forged.len() - 20;
    let replacement = if forged.as_bytes()[middle] == b'A' { "B" } else { "A" };
    forged.replace_range(middle..=middle, replacement);
    refused(&site, "garbage", "not-a-token-at-all", "malformed");
    refused(&site, "forged", &forged, "signature");

    let short = site.token(&["--expires", "1s"]);
    eventually("a second passes", Duration::from_secs(10), || {
        let tokens = site.json(&["tokens", "list", "--group", GROUP]).to_string();
        tokens.contains("expired").then_some(())
    });
    refused(&site, "late", &short, "expired");

    let once = site.token(&["--max-uses", "1"]);
    let mut first = site.start_agent("first", &once, &[]);
    first.process.ready();
    refused(&site, "second", &once, "used up");

    let old = site.token(&[]);
    site.run(&["tokens", "rotate", "--group", GROUP]).ok();
    refused(&site, "rotated", &old, "rotated");
    site.add_agent("after", &[]);
}

#[test]
fn a_revoked_agent_is_cut_and_stays_out() {
    let mut site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    let revoked = site.agents[1].id.clone();
    site.run(&["agents", "revoke", &revoked]).ok();
    eventually("its tunnels are cut and it left the group", Duration::from_secs(10), || {
        let status = site.status();
        let members = status["members"].as_array()?;
        members.iter().all(|member| member["id"] != revoked.as_str()).then_some(())
    });
    site.agents[1].restart();
    eventually("it is told that it is revoked", Duration::from_secs(20), || {
        site.agents[1].process.log().contains("revoked").then_some(())
    });
    for _ in 0..10 {
        caller::open_echo(echo).unwrap();
    }
    let agent = site.json(&["agents", "show", &revoked]);
    assert_eq!(agent["status"], "Revoked", "{agent}");
    assert_eq!(agent["tunnels"], 0, "{agent}");
}

#[test]
fn an_agent_of_another_ca_gets_nowhere() {
    let mut here = Site::with_agents(1);
    let there = Site::builder().start();
    let stranger = here.agents.remove(0);
    drop(stranger);
    // The identity of one gateway's group, shown to another gateway whose root it is told to trust.
    fs::create_dir(there.path("stranger")).unwrap();
    fs::rename(here.path("agent-1").join("data"), there.path("stranger").join("data")).unwrap();
    let agent = there.start_agent("stranger", "unused", &[]);
    eventually("the gateway refuses its certificate", Duration::from_secs(30), || {
        let log = agent.process.log().to_lowercase();
        (log.contains("certificate") || log.contains("unknown ca") || log.contains("unknownca")).then_some(())
    });
    assert!(!agent.process.is_ready());
    let agents = there.json(&["agents", "list"]).to_string();
    assert!(!agents.contains("agt-"), "{agents}");
}
