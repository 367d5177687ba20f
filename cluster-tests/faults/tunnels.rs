//! Connections to the gateway that carry nothing, one way or both, or seldom.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Seen,
    members::failed,
    reach::{Held, SOON},
    sites::one_behind_relay,
};
use crate::{
    Site, caller, eventually, hold, http,
    load::{Bulk, Exchange, Running, Sizes},
    netns,
    opens::{Opened, Opens},
    relay::Way,
    target,
};

/// After so long a silence a member gets nothing new.
const SUSPECT: Duration = Duration::from_secs(4);
/// After so long a silence its tunnels are given up, by whichever end hears nothing.
const DEAD: Duration = Duration::from_secs(8);
/// What a wall-clock bound may be passed by, by ticks and wakeups.
const TICK: Duration = Duration::from_millis(100);
const RETURN: Duration = Duration::from_secs(10);

/// Row 17.
pub(super) fn silent_both_ways(seen: &mut Seen) {
    silent(seen, &Way::BOTH);
}

/// Row 18.
pub(super) fn silent_one_way(seen: &mut Seen) {
    let one = Way::BOTH[seen.draw(2) as usize];
    silent(seen, &[one]);
}

/// All connections of one of three members fall silent while callers come.
fn silent(seen: &mut Seen, ways: &[Way]) {
    let (site, relay) = one_behind_relay();
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let silent = site.agents[0].id.clone();
    // To the gateway any word of a member is a sign of life, until one that is deaf gives up by itself.
    let is_deaf = *ways == [Way::ToAgent];
    let (given_up, last_new) = match is_deaf {
        true => ("a deaf one's tunnels given up", "last new session to a deaf one"),
        false => ("its tunnels given up", "last new session to it"),
    };
    let opens = Opens::start(echo, 8, Duration::from_millis(100));
    eventually("callers come", SOON, || (opens.count() > 50).then_some(()));
    let hole = Instant::now();
    relay.black_hole(ways);
    eventually("its tunnels are given up", SOON, || (site.member(&silent)["tunnels"] == 0).then_some(()));
    seen.time(given_up, hole.elapsed(), DEAD + Duration::from_secs(1), SOON);
    // Those on the others did not feel it; those on it wait for it.
    let (quiet, lively): (Vec<_>, Vec<_>) =
        held.sessions.drain(..).zip(held.members.drain(..)).partition(|(_, member)| *member == silent);
    (held.sessions, held.members) = lively.into_iter().unzip();
    seen.count("sessions lost on the others", held.lost(), 0);
    let done: Vec<_> = opens.finish().into_iter().filter(|opened| opened.begun > hole).collect();
    let tried = tried_on(&site, &silent);
    let on_it = |opened: &&Opened| opened.from.is_some_and(|from| tried.contains_key(&from.to_string()));
    let last = done.iter().filter(on_it).map(|opened| opened.begun - hole).max().unwrap_or_default();
    let noticed = if is_deaf { DEAD + Duration::from_secs(1) } else { SUSPECT + TICK };
    seen.time(last_new, last, noticed, noticed + Duration::from_secs(2));
    let late: Vec<_> = done.iter().filter(|opened| opened.begun > hole + noticed).cloned().collect();
    seen.count("failed opens begun after that", failed(&late), 0);
    seen.counted("failed opens begun before", failed(&done) - failed(&late));
    let healed = Instant::now();
    relay.heal();
    eventually("it is taken back", SOON, || (site.member_status(&silent) == "Active").then_some(()));
    seen.time("back after the end", healed.elapsed(), RETURN, SOON);
    (held.sessions, held.members) = quiet.into_iter().unzip();
    seen.count("its own sessions lost", held.lost(), 0);
}

/// Callers whose session was tried on the member, by their address.
fn tried_on(site: &Site, member: &str) -> BTreeMap<String, ()> {
    let records = site.sessions("echo");
    let tried = records.iter().filter(|record| {
        let attempts = record["attempts"].as_array().into_iter().flatten();
        // One that is being opened has its member, and no attempt yet.
        record["member"] == member || attempts.into_iter().any(|attempt| attempt["chosen"] == member)
    });
    tried.filter_map(|record| Some((record["caller"].as_str()?.to_owned(), ()))).collect()
}

/// Row 19. Nothing in between cuts what has carried a byte within this time, not by far.
pub(super) fn idle(seen: &mut Seen) {
    const CUT_AFTER: Duration = Duration::from_secs(60);
    const WATCHED: Duration = Duration::from_secs(7);
    let (site, relay) = Site::builder().behind_relay(2, "");
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 300);
    let connections = relay.connections();
    let count = |way: Way| connections.iter().map(|one| one.bytes(way)).collect::<Vec<_>>();
    let mut last: Vec<_> =
        Way::BOTH.iter().flat_map(|way| count(*way)).map(|bytes| (bytes, Instant::now())).collect();
    let mut longest = Duration::ZERO;
    hold("all is idle", WATCHED, || {
        let now = Instant::now();
        for ((known, since), bytes) in last.iter_mut().zip(Way::BOTH.iter().flat_map(|way| count(*way))) {
            longest = longest.max(now - *since);
            if bytes != *known {
                (*known, *since) = (bytes, now);
            }
        }
        true
    });
    seen.time("longest silence of a tunnel one way", longest, CUT_AFTER / 10, CUT_AFTER);
    seen.count("sessions lost", held.lost(), 0);
    seen.count("tunnels made anew", relay.connections().len().abs_diff(connections.len()), 0);
}

/// Row 22, in small.
pub(super) fn gateway_lost(seen: &mut Seen) {
    const AWAY: Duration = Duration::from_secs(3);
    let mut site = Site::with_agents(5);
    let echo = site.resource("echo", target::echo());
    let metrics = site.gateway.address("metrics");
    let tunnels = || {
        http::get(metrics, "/metrics").map_or(0.0, |(_, text)| http::sum(&text, "warren_gateway_tunnels", ""))
    };
    eventually("all have both", SOON, || (tunnels() == 10.0).then_some(()));
    site.kill_gateway();
    let killed = Instant::now();
    eventually("it is away", SOON, || (killed.elapsed() >= AWAY).then_some(()));
    site.restart_gateway();
    let back = Instant::now();
    let (_, took) = eventually("callers are served", SOON, || caller::open_echo(echo).ok());
    seen.time("an open served after its return", took, RETURN, SOON);
    eventually("all are back", SOON, || {
        let (_, text) = http::get(site.gateway.address("metrics"), "/metrics").ok()?;
        (http::sum(&text, "warren_gateway_tunnels", "") == 10.0).then_some(())
    });
    seen.time("all tunnels back after its return", back.elapsed(), RETURN, SOON);
}

/// Row 28, its loss.
pub(super) fn lossy(seen: &mut Seen) {
    const EACH: u64 = 16 << 20;
    netns::within(|| {
        let mut lan = netns::Lan::new();
        let (cloud, home) = (lan.host(), lan.host());
        let mut site = Site::builder().gateway_in(cloud.place()).start();
        site.add_agent_in(&home.place(), "agent-1", &[]);
        site.wait_for_members(1);
        let exchange = Exchange::start(u64::MAX);
        let bulk = site.resource("bulk", exchange.address);
        let seed = seen.draw(u64::MAX);
        let run = || {
            let (start, sizes) = (Instant::now(), Sizes { up: EACH, down: EACH });
            let lost = Running::start(bulk, [Bulk { seed, sizes, pace: u64::MAX }]).finish(&exchange);
            assert!(lost.is_empty(), "SEED={seed}: {lost:?}");
            start.elapsed()
        };
        seen.told("16 MiB each way without loss", run());
        cloud.loses(5);
        home.loses(5);
        seen.told("and with loss", run());
        let ended =
            http::sum(&http::metrics(site.gateway.address("metrics")), "warren_tunnel_closed_total", "");
        seen.count("tunnels that ended", ended as usize, 0);
    });
}
