//! A member that stops without a word, as a suspended machine does: its connections stay, nothing answers.

use std::time::{Duration, Instant};

use warren_cluster_tests::{Site, caller, eventually, target};

/// Suspect after 4 s of silence, looked at every so often; given up after 8 s.
const NOTICED: Duration = Duration::from_secs(7);

/// Waits for the gateway's own view. That its peers miss it shows earlier, as `Degraded`, and keeps no session away.
fn freeze_until_noticed(site: &Site) {
    site.agents[0].process.freeze();
    eventually("its tunnels count as silent", NOTICED, || {
        (site.member_status(&site.agents[0].id) == "No response").then_some(())
    });
}

#[test]
fn a_frozen_member_gets_nothing_new_and_returns() {
    let site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let id = site.agents[0].id.clone();
    let mut held: Vec<_> = (0..12).map(|_| caller::open_echo(echo).unwrap().0).collect();
    assert!(site.spread("echo").contains_key(&id), "it carries some of them");

    // A short freeze: it is suspected, not given up, and what it carries goes on where it was.
    freeze_until_noticed(&site);
    site.agents[0].process.thaw();
    held.iter_mut().for_each(|session| caller::round_trip(session, b"after the thaw").unwrap());
    eventually("it is taken back", Duration::from_secs(10), || {
        (site.member_status(&id) == "Active").then_some(())
    });

    // A long one.
    freeze_until_noticed(&site);
    let before = site.spread("echo").get(&id).copied();
    let start = Instant::now();
    let opened = (0..40).map(|_| caller::open_echo(echo).unwrap().1).max().unwrap();
    assert!(opened < Duration::from_secs(2), "nobody waits for it: {opened:?}");
    eventually("it is given up", Duration::from_secs(15), || {
        (site.member(&id)["tunnels"] == 0).then_some(())
    });
    caller::open_echo(echo).unwrap();
    assert_eq!(site.spread("echo").get(&id).copied(), before, "none of {:?} went to it", start.elapsed());
    held.retain_mut(|session| caller::round_trip(session, b"elsewhere").is_ok());
    assert!(!held.is_empty(), "sessions through the others go on");

    site.agents[0].process.thaw();
    site.wait_for_members(3);
    eventually("it takes sessions again", Duration::from_secs(30), || {
        caller::open_echo(echo).unwrap();
        (site.spread("echo").get(&id).copied() > before).then_some(())
    });
}
