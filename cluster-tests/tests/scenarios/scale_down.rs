//! A StatefulSet of agents that shrinks: those that are scaled away leave, and nobody else does.

use std::{fs, time::Duration};

use warren_cluster_tests::{GROUP, Kubernetes, Site, caller, eventually, target};

const SOON: Duration = Duration::from_secs(30);

/// Ids of those that the gateway calls revoked.
fn revoked(site: &Site) -> Vec<String> {
    let agents = site.json(&["agents", "list", "--group", GROUP]);
    let agents = agents.as_array().unwrap().iter().filter(|agent| agent["status"] == "Revoked");
    agents.map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn members_that_are_scaled_away_leave_and_come_back_as_others() {
    let mut site = Site::builder().start();
    let kubernetes = Kubernetes::start("warren", 5, &site.path("account"));
    let file = site.path("agent.yaml");
    let (api, account) = (kubernetes.address(), site.path("account"));
    fs::write(&file, format!("kubernetes: {{api: '{api}', account: {}}}\n", account.display())).unwrap();
    for ordinal in 0..5 {
        let (name, pod) = (format!("warren-{ordinal}"), format!("site/warren-{ordinal}"));
        site.add_agent(&name, &["--drain", "2s", "--pod", &pod, "--config", file.to_str().unwrap()]);
    }
    site.wait_for_members(5);
    let echo = site.resource("echo", target::echo());

    // A restart: the set wants it still.
    let before = site.agents[4].id.clone();
    site.agents[4].process.terminate();
    site.agents[4].process.wait(SOON);
    site.agents[4].restart();
    assert_eq!(site.agents[4].process.ready()["id"], before.as_str());
    site.wait_for_members(5);

    // Five become three, both at once.
    kubernetes.scale(3);
    let gone = [3, 4].map(|ordinal| site.agents[ordinal].id.clone());
    for ordinal in [3, 4] {
        site.agents[ordinal].process.terminate();
    }
    for ordinal in [3, 4] {
        let status = site.agents[ordinal].process.wait(SOON);
        let log = site.agents[ordinal].process.log();
        assert!(status.success() && log.contains("left its group for good"), "{log}");
    }
    site.wait_for_members(3);
    let status = site.status();
    assert_eq!(status["state"], "Healthy", "{status}");
    assert!(
        gone.iter().all(|id| site.member(id).is_null() || site.member_status(id) == "Revoked"),
        "{status}"
    );
    assert!(gone.iter().all(|id| revoked(&site).contains(id)), "{gone:?}");
    // Nobody counts on them: two of three decide, where two of five could not.
    let first = site.leader().min(2);
    site.agents[first].process.kill();
    eventually("edits without the first", SOON, || {
        site.run(&["resources", "create", "more", "--group", GROUP, "--target", "127.0.0.1:1"])
            .code
            .eq(&0)
            .then_some(())
    });
    caller::open_echo(echo).unwrap();
    site.agents[first].restart();
    site.agents[first].process.ready();
    site.wait_for_members(3);

    // Three become five on the disks that were kept.
    kubernetes.scale(5);
    for ordinal in [3, 4] {
        site.agents[ordinal].restart();
        let id = site.agents[ordinal].process.ready()["id"].as_str().unwrap().to_owned();
        assert!(!gone.contains(&id), "an id is used once");
        site.agents[ordinal].id = id;
    }
    site.wait_for_members(5);
    assert_eq!(revoked(&site).len(), 2);

    // Stopped altogether, they are the same group afterwards.
    kubernetes.scale(0);
    let ids = [0, 1, 2, 3, 4].map(|ordinal| site.agents[ordinal].id.clone());
    for agent in &site.agents {
        agent.process.terminate();
    }
    for agent in &mut site.agents {
        agent.process.wait(SOON);
        agent.restart();
    }
    for (agent, id) in site.agents.iter_mut().zip(ids) {
        assert_eq!(agent.process.ready()["id"], id.as_str());
    }
    site.wait_for_members(5);
}
