//! Agents that are thrown out, and agents that are there twice.

use std::time::{Duration, Instant};

use super::{
    Seen,
    reach::{Held, SOON, writable},
};
use crate::{GROUP, Site, caller, eventually, hold, http, relay::End, target};

/// Row 37.
pub(super) fn revoked(seen: &mut Seen) {
    const BOUND: Duration = Duration::from_secs(10);
    let site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 60);
    site.run(&["tokens", "rotate", "--group", GROUP]).ok();
    seen.count("sessions lost by a rotation of the token", held.lost(), 0);
    let revoked = site.agents[2].id.clone();
    let start = Instant::now();
    site.run(&["agents", "revoke", &revoked]).ok();
    let cut = held.cut(&revoked, SOON) - start;
    seen.time("its sessions cut", cut, BOUND, SOON);
    eventually("it has left the group", SOON, || site.member(&revoked).is_null().then_some(()));
    seen.time("it has left the group", start.elapsed(), BOUND, SOON);
    seen.count("sessions lost on the others", held.lost(), 0);
    writable(&site, "after");
}

/// Row 39.
pub(super) fn there_twice(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let copied = (site.leader() + 1) % 3;
    let start = Instant::now();
    let mut twin = site.copy_agent(copied, "twin");
    eventually("the later start serves", SOON, || twin.process.is_ready().then_some(()));
    eventually("the earlier one says what is wrong", SOON, || {
        let log = site.agents[copied].process.log();
        log.contains("another process uses this agent's identity").then_some(())
    });
    seen.time("the earlier one says so, the start included", start.elapsed(), Duration::from_secs(2), SOON);
    let later = twin.process.address("metrics");
    let lost = || http::sum(&http::metrics(later), "warren_agent_reconnects_total", "") as usize;
    let before = lost();
    // The earlier one tries again meanwhile.
    hold("callers are served", Duration::from_secs(7), || caller::open_echo(echo).is_ok());
    seen.count("tunnels that the later one lost again", lost() - before, 0);
    writable(&site, "after");
    site.agents[copied].process.kill();
    site.wait_for_members(3);
}

/// Row 36.
pub(super) fn expired(seen: &mut Seen) {
    /// The shortest that the gateway takes.
    const LIFE: Duration = Duration::from_secs(60);
    let builder = Site::builder().gateway_file("certificate_lifetime: 1m\n");
    let (site, relay) = builder.behind_relay(2, "");
    let (enrolled, agent) = (Instant::now(), &site.agents[0].process);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 20);
    // Tunnels stay; whoever renews makes a connection of its own.
    relay.refuse();
    hold(
        "sessions go on past the end",
        (LIFE + Duration::from_secs(5)).saturating_sub(enrolled.elapsed()),
        || held.lost() == 0,
    );
    for warning in ["certificate runs out and cannot be renewed", "certificate has expired"] {
        eventually(&format!("it warns: {warning}"), SOON, || agent.log().contains(warning).then_some(()));
    }
    assert!(!agent.log().contains("certificate renewed"), "it could not be: {}", agent.log());
    relay.heal();
    relay.cut(End::Reset);
    let healed = Instant::now();
    eventually("it is back", SOON, || caller::open_echo(echo).ok());
    eventually("it came by its token", SOON, || {
        agent.log().contains("enrolled again under the same id").then_some(())
    });
    seen.time("back once it can be renewed", healed.elapsed(), Duration::from_secs(10), SOON * 3);
    seen.count("sessions lost", held.lost(), 0);
}
