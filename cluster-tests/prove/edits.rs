//! How fast a new resource is usable through every member, and how soon config can be written after a death.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

const ROUNDS: usize = 20;

pub(crate) fn prove() {
    let mut site = Site::with_agents(3);
    let mut usable = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("echo-{round}");
        let port = site.resource(&name, target::echo());
        let created = Instant::now();
        let mut members = BTreeSet::new();
        eventually("every member serves it", Duration::from_secs(10), || {
            let sessions: Vec<_> = (0..6).map(|_| caller::open_echo(port).expect("no open fails")).collect();
            let open = site.json(&["sessions", "list", "--group", GROUP, "--resource", &name]);
            let open = open.as_array().or_else(|| open["sessions"].as_array()).cloned().unwrap_or_default();
            members.extend(open.iter().filter_map(|session| session["member"].as_str().map(String::from)));
            drop(sessions);
            (members.len() == 3).then_some(())
        });
        usable.push(created.elapsed());
    }
    report("new resource used through all three members after", usable);

    let echo = site.resource("echo", target::echo());
    let (mut opens, mut writes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let leader = site.leader();
        site.agents[leader].process.kill();
        let killed = Instant::now();
        caller::open_echo(echo).expect("the first open after a kill succeeds");
        opens.push(killed.elapsed());
        let target = target::refusing().to_string();
        let name = format!("after-{round}");
        site.run(&["resources", "create", &name, "--group", GROUP, "--target", &target]).ok();
        writes.push(killed.elapsed());
        site.agents[leader].restart();
        site.agents[leader].process.ready();
        site.wait_for_members(3);
    }
    report("leader killed, next session open after", opens);
    report("leader killed, config written (by the CLI, process start included) after", writes);
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: median {median:.1?}, worst {worst:.1?} of {}", times.len());
}
