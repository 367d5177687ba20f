//! What people want of a member: drain, disable, enable, weight; and a clean stop.

use std::time::Duration;

use warren_cluster_tests::{Site, caller, eventually, target};

fn status_of(site: &Site, id: &str) -> String {
    let status = site.status();
    let member = status["members"].as_array().unwrap().iter().find(|member| member["id"] == id).cloned();
    member.map(|member| member["status"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_disabled_member_gets_nothing_new_and_the_last_one_is_guarded() {
    let site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    let (first, second) = (site.agents[0].id.clone(), site.agents[1].id.clone());
    let mut held: Vec<_> = (0..8).map(|_| caller::open_echo(echo).unwrap().0).collect();

    site.run(&["agents", "drain", &first]).ok();
    eventually("it drains", Duration::from_secs(5), || {
        (status_of(&site, &first) == "Draining").then_some(())
    });
    held.iter_mut().for_each(|session| caller::round_trip(session, b"still here").unwrap());
    let fresh: Vec<_> = (0..10).map(|_| caller::open_echo(echo).unwrap()).collect();
    let open = site.json(&["sessions", "list", "--group", "site"]);
    let open = open.as_array().or_else(|| open["sessions"].as_array()).cloned().unwrap();
    let on_second = open.iter().filter(|session| session["member"] == second.as_str()).count();
    assert!(on_second >= fresh.len(), "new sessions go to the other member: {open:?}");

    let guarded = site.run(&["agents", "disable", &second]);
    assert_eq!(guarded.code, 3, "{guarded:?}");
    assert!(guarded.stderr.contains("last healthy member"), "{guarded:?}");
    site.run(&["agents", "enable", &first]).ok();
    site.run(&["agents", "weight", &first, "10"]).ok();
    site.run(&["agents", "disable", &second]).ok();
    eventually("it is disabled", Duration::from_secs(5), || {
        (status_of(&site, &second) == "Disabled").then_some(())
    });
}

#[test]
fn a_terminated_agent_finishes_its_sessions_first() {
    let mut site = Site::with_agents(2);
    let echo = site.resource("echo", target::echo());
    let mut held: Vec<_> = (0..10).map(|_| caller::open_echo(echo).unwrap().0).collect();
    site.agents[0].process.terminate();
    eventually("new sessions go elsewhere", Duration::from_secs(10), || {
        (status_of(&site, &site.agents[0].id) != "Active").then_some(())
    });
    for _ in 0..20 {
        caller::open_echo(echo).unwrap();
    }
    held.iter_mut().for_each(|session| caller::round_trip(session, b"to the end").unwrap());
    drop(held);
    let status = site.agents[0].process.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0), "{}", site.agents[0].process.log());
}
