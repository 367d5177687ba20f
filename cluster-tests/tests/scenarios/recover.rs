//! The majority is gone for good: one survivor becomes the group, and those that come back are shut out.

use std::{fs, time::Duration};

use warren_cluster_tests::{Answer, GROUP, Site, caller, eventually, target};

fn recover(site: &Site, agent: usize, more: &[&str]) -> Answer {
    let data = site.agents[agent].data();
    let mut args = vec!["recover", "--data-dir", data.to_str().unwrap()];
    args.extend(more);
    site.run(&args)
}

#[test]
fn a_survivor_becomes_the_group_and_a_former_member_stays_out() {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let running = recover(&site, 0, &["--yes"]);
    assert_eq!(running.code, 3, "{running:?}");
    assert!(running.stderr.contains("is open in another process"), "{running:?}");
    site.agents[0].process.kill();
    let needless = recover(&site, 0, &["--yes"]);
    assert_eq!(needless.code, 3, "{needless:?}");
    assert!(needless.stderr.contains("the majority is not gone"), "{needless:?}");

    // One loses its disk, the other comes back when nobody counts on it any more.
    site.agents[1].process.kill();
    site.agents[2].process.kill();
    fs::remove_dir_all(site.agents[1].data()).unwrap();
    let shown = recover(&site, 0, &["--dry-run"]).ok().try_json().unwrap();
    assert_eq!((&shown["recovered"], &shown["revision"]), (&false.into(), &1.into()), "{shown}");
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(3), "{shown}");
    let unasked = recover(&site, 0, &[]);
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert!(unasked.stderr.contains(&format!("out for good: {}", site.agents[1].id)), "{unasked:?}");
    let done = recover(&site, 0, &["--yes"]).ok().try_json().unwrap();
    assert_eq!(done["recovered"], true, "{done}");
    assert!(done["next_epoch"].as_u64() > Some(1), "{done}");
    assert!(recover(&site, 0, &["--yes"]).ok().stdout.contains("\"recovered\": false"), "twice is once");

    site.agents[0].restart();
    site.agents[0].process.ready();
    let late = site.resource("late", target::echo());
    caller::open_echo(late).unwrap();

    let former = site.agents[2].id.clone();
    let before = site.spread("echo").get(&former).copied();
    site.agents[2].restart();
    eventually("it is told that it is out", Duration::from_secs(30), || {
        site.agents[2].process.log().contains("the group was recovered without it").then_some(())
    });
    for _ in 0..20 {
        caller::open_echo(echo).unwrap();
    }
    assert_eq!(site.spread("echo").get(&former).copied(), before, "it carries no session");
    site.resource("later", target::echo());
    let status = site.status();
    assert_eq!(status["leader"], site.agents[0].id.as_str(), "{status}");
    site.agents[2].restart();
    let status = site.agents[2].process.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(3), "{}", site.agents[2].process.log());

    for lost in [1, 2] {
        let id = site.agents[lost].id.clone();
        site.run(&["agents", "revoke", &id]).ok();
    }
    for name in ["agent-4", "agent-5"] {
        site.add_agent(name, &[]);
    }
    site.wait_for_members(3);
    let status = site.json(&["groups", "status", GROUP]);
    assert_eq!((&status["state"], &status["revision"]), (&"Healthy".into(), &3.into()), "{status}");
}
