//! Members that die, are slow, are started one after the other.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    Seen,
    reach::{Held, SOON, WRITABLE, writable},
};
use crate::{
    GROUP, Relay, Site, caller, eventually, hold, netns,
    opens::{Opened, Opens},
    target,
};

const EVERY: Duration = Duration::from_millis(20);
const NEXT_OPEN: Duration = Duration::from_millis(100);
/// Sessions that are open when the member dies.
const HELD: usize = 300;

/// Row 23.
pub(super) fn killed(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, HELD);
    let victim = (0..3).max_by_key(|index| held.on(&site.agents[*index].id)).expect("three members");
    let others: Vec<_> =
        (0..3).filter(|index| *index != victim).map(|index| site.agents[index].id.clone()).collect();
    let id = site.agents[victim].id.clone();
    let opens = Opens::start(echo, 4, EVERY);
    eventually("callers come", SOON, || (opens.count() > 50).then_some(()));
    site.agents[victim].process.kill();
    let killed = Instant::now();
    eventually("callers come", SOON, || (opens.count() > 450).then_some(()));
    let done = opens.finish();
    let after = |opened: &&Opened| opened.begun >= killed;
    let answered = done.iter().filter(|opened| opened.outcome.is_ok()).filter(after);
    let next = answered.clone().map(|opened| opened.begun - killed + opened.took).min();
    seen.time("next open", next.expect("hundreds came"), NEXT_OPEN, Duration::from_secs(3));
    seen.told("slowest of the next 400", answered.map(|opened| opened.took).max().unwrap_or_default());
    // What had been said to the dead one may have reached a target, and is said to nobody else.
    let (under_way, elsewhere): (Vec<_>, Vec<_>) =
        records_of_failed(&site, &done).into_iter().partition(|record| record["member"] == id.as_str());
    assert!(elsewhere.is_empty(), "opens failed on the others: {elsewhere:#?}");
    seen.count("failed opens on the others", elsewhere.len(), 0);
    seen.counted("failed opens under way on it", under_way.len());
    seen.count("sessions lost on the others", held.lost_but(&id), 0);
    // What is open on them, once as many came as it had carried.
    let more = Held::open(&site, "echo", echo, held.on(&id));
    let loads = others.iter().map(|other| (held.on(other) + more.on(other)) as f64).collect::<Vec<_>>();
    let uneven = (loads[0] - loads[1]).abs() * 100.0 / (loads[0] + loads[1]);
    seen.percent("load of the others off their mean", uneven, 15.0, 100.0);
    // Until then they wait for it: a tunnel that broke looks the same.
    let start = Instant::now();
    site.agents[victim].restart();
    let cut = held.cut(&id, SOON) - start;
    seen.time("its sessions cut by its next start", cut, Duration::from_secs(2), SOON);
}

/// Row 41.
pub(super) fn restarted_in_turn(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let opens = Opens::start(echo, 2, EVERY);
    for agent in &mut site.agents {
        // As an orchestrator does it that goes by readiness alone.
        agent.restart();
        agent.process.ready();
    }
    let all = Instant::now();
    writable(&site, "after");
    seen.time("config writable after the last", all.elapsed(), Duration::from_secs(2), SOON);
    site.wait_for_members(3);
    // A session ends with the member that carries it.
    let (cut, failed): (Vec<_>, Vec<_>) =
        records_of_failed(&site, &opens.finish()).into_iter().partition(|record| {
            record["outcome"]
                .as_str()
                .is_some_and(|outcome| ["tunnel_lost", "peer_restarted"].contains(&outcome))
        });
    seen.count("failed opens", failed.len(), 0);
    seen.counted("opens under way on the one that died", cut.len());
}

/// Row 32.
pub(super) fn slow(seen: &mut Seen) {
    let mut site = Site::builder().start();
    let relay = Relay::start(site.listen());
    site.add_agent_through(&relay, "agent-1", &[]);
    for name in ["agent-2", "agent-3"] {
        site.add_agent(name, &[]);
    }
    site.wait_for_members(3);
    let echo = site.resource("echo", target::echo());
    let slow = site.agents[0].id.clone();
    relay.delay(Duration::from_millis(50));
    let opens = Opens::start(echo, 4, Duration::from_millis(10));
    eventually("the gateway learns", SOON, || (opens.count() > 100).then_some(()));
    let before = site.spread("echo");
    eventually("callers come", SOON, || (opens.count() > 700).then_some(()));
    let after = site.spread("echo");
    seen.count("failed opens", failed(&opens.finish()), 0);
    let count = |id: &String| (after.get(id).unwrap_or(&0) - before.get(id).unwrap_or(&0)) as f64;
    let all: f64 = after.keys().map(count).sum();
    seen.percent("share of the slow one", count(&slow) * 100.0 / all, 5.0, 15.0);
}

/// Row 42.
pub(super) fn scaled(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let start = Instant::now();
    for name in ["agent-4", "agent-5"] {
        site.add_agent(name, &[]);
    }
    site.wait_for_members(5);
    seen.told("three become five", start.elapsed());
    // The leader, and one more, leave for good.
    let leader = site.leader();
    let start = Instant::now();
    let mut gone = Vec::new();
    for index in [leader, if leader == 0 { 0 } else { leader - 1 }] {
        let agent = site.agents.remove(index);
        site.run(&["agents", "revoke", &agent.id]).ok();
        gone.push(agent);
    }
    eventually("three are left", SOON, || {
        let status = site.run(&["groups", "status", GROUP]).try_json()?;
        (status["members"].as_array()?.len() == 3 && status["quorum"] == true).then_some(())
    });
    seen.told("five become three, their leader among those that leave", start.elapsed());
    let start = Instant::now();
    writable(&site, "after");
    seen.time("config writable after it", start.elapsed(), WRITABLE, SOON);
    for agent in &gone {
        held.cut(&agent.id, SOON);
    }
    seen.count("sessions lost on those that stay", held.lost(), 0);
    for agent in &mut gone {
        agent.restart();
    }
    for agent in &gone {
        eventually("it is told that it was revoked", SOON, || {
            agent.process.log().contains("revoked").then_some(())
        });
    }
    hold("those that left stay out", Duration::from_secs(1), || {
        site.status()["members"].as_array().is_some_and(|members| members.len() == 3)
    });
}

/// Row 31.
pub(super) fn cut_from_its_target(seen: &mut Seen) {
    netns::within(|| {
        let mut lan = netns::Lan::new();
        let mut site = Site::builder().start();
        let file = site.path("agent.yaml");
        std::fs::write(&file, "probe: {interval: 1s, timeout: 500ms}\n")
            .expect("the site's directory can be written");
        let file = file.to_str().expect("a temporary path is text");
        let hosts = [lan.host(), lan.host(), lan.host()];
        for (number, host) in (1..).zip(&hosts) {
            site.add_agent_in(&host.place(), &format!("agent-{number}"), &["--config", file]);
        }
        site.wait_for_members(3);
        let served = target::echo();
        let echo = site.resource("echo", served);
        let hurt = site.agents[0].id.clone();
        let opens = Opens::start(echo, 2, EVERY);
        eventually("callers come", SOON, || (opens.count() > 50).then_some(()));
        hosts[0].is_refused_at(served);
        let before = opens.count();
        eventually("callers come", SOON, || (opens.count() > before + 300).then_some(()));
        let done = opens.finish();
        seen.count("failed opens", failed(&done), 0);
        let tried = site.sessions("echo").iter().filter(|session| refused_by(session, &hurt)).count();
        seen.count("opens tried on it in vain", tried, 5);
        hosts[0].heals();
        let (_, took) = eventually("it is a candidate again", Duration::from_secs(60), || {
            caller::open_echo(echo).expect("the others serve");
            let newest = site.sessions("echo").into_iter().next()?;
            let candidates = newest["attempts"][0]["candidates"].as_array()?.clone();
            let it = candidates.into_iter().find(|candidate| candidate["member"] == hurt.as_str())?;
            it["excluded"].is_null().then_some(())
        });
        seen.time("a candidate again after the end", took, Duration::from_secs(15), Duration::from_secs(60));
    });
}

/// Whether the member said that the target refused.
fn refused_by(session: &Value, member: &str) -> bool {
    let attempts = session["attempts"].as_array().into_iter().flatten();
    attempts.into_iter().any(|attempt| attempt["chosen"] == member && attempt["result"] == "refused")
}

pub(super) fn failed(opens: &[Opened]) -> usize {
    opens.iter().filter(|opened| opened.outcome.is_err()).count()
}

/// The gateway's records of those that failed; null for one that it has none of.
pub(super) fn records_of_failed(site: &Site, opens: &[Opened]) -> Vec<Value> {
    let records = site.sessions("echo");
    let record = |opened: &Opened| {
        let from = opened.from.map(|from| from.to_string());
        let found = records.iter().find(|record| record["caller"].as_str() == from.as_deref());
        found.cloned().unwrap_or_default()
    };
    opens.iter().filter(|opened| opened.outcome.is_err()).map(record).collect()
}

pub(super) fn slowest(opens: &[Opened]) -> Duration {
    opens.iter().map(|opened| opened.took).max().unwrap_or_default()
}
