//! Members that die, are slow, are started one after the other.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    Seen,
    reach::{Held, SOON, WRITABLE, writable},
    sites::one_behind_relay,
};
use crate::{
    GROUP, Site, caller, eventually, hold, netns,
    opens::{Opened, Opens},
    target,
};

const EVERY: Duration = Duration::from_millis(20);
const NEXT_OPEN: Duration = Duration::from_millis(100);
/// Opens that begin so soon after a death may still go to the dead: its connections end with it, but the gateway has to get a
/// turn to see that. On two busy cores that takes tens of milliseconds; whatever begins later has no excuse.
const NOT_SEEN_YET: Duration = Duration::from_millis(200);
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
    let dying = Instant::now();
    site.agents[victim].process.kill();
    let killed = Instant::now();
    // By a caller who has nothing to do with it. Those who come all the time may have had an open under way on the dead one, each
    // of them, and wait for that.
    let next = caller::open_echo(echo).map(|_| killed.elapsed());
    eventually("callers come", SOON, || (opens.count() > 450).then_some(()));
    let done = opens.finish();
    let after = |opened: &&Opened| opened.begun >= killed;
    let answered = done.iter().filter(|opened| opened.outcome.is_ok()).filter(after);
    seen.time("next open", next.expect("it is served by the others"), NEXT_OPEN, Duration::from_secs(3));
    seen.told("slowest of the next 400", answered.map(|opened| opened.took).max().unwrap_or_default());
    count_failed(seen, &site, &done, &[(id.clone(), dying)]);
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
    let mut deaths = Vec::new();
    for agent in &mut site.agents {
        // As an orchestrator does it that goes by readiness alone.
        deaths.push((agent.id.clone(), Instant::now()));
        agent.restart();
        agent.process.ready();
    }
    let all = Instant::now();
    writable(&site, "after");
    seen.time("config writable after the last", all.elapsed(), Duration::from_secs(2), SOON);
    site.wait_for_members(3);
    count_failed(seen, &site, &opens.finish(), &deaths);
}

/// Row 32.
pub(super) fn slow(seen: &mut Seen) {
    let (site, relay) = one_behind_relay();
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

/// Counts the failed opens. Those that were under way on a member when it died have an excuse: what had been said to it may
/// have reached a target, and is said to nobody else. `deaths` are the members' ids, and when they were killed.
pub(super) fn count_failed(seen: &mut Seen, site: &Site, opens: &[Opened], deaths: &[(String, Instant)]) {
    let records = site.sessions("echo");
    let member = |opened: &Opened| {
        let from = opened.from?.to_string();
        let record = records.iter().find(|record| record["caller"] == from.as_str())?;
        record["member"].as_str().map(str::to_owned)
    };
    let failed = opens.iter().filter(|opened| opened.outcome.is_err());
    let (under_way, others): (Vec<_>, Vec<_>) =
        failed.partition(|opened| member(opened).is_some_and(|id| died_with(opened, &id, deaths)));
    seen.counted("failed opens under way on it", under_way.len());
    let others: Vec<_> = others.into_iter().map(|opened| (opened, member(opened))).collect();
    seen.none("other failed opens", &others);
}

/// Whether an open that failed on that member was under way when it died.
fn died_with(opened: &Opened, member: &str, deaths: &[(String, Instant)]) -> bool {
    deaths.iter().any(|(id, died)| {
        id == member && opened.begun < *died + NOT_SEEN_YET && opened.begun + opened.took >= *died
    })
}

pub(super) fn slowest(opens: &[Opened]) -> Duration {
    opens.iter().map(|opened| opened.took).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_that_was_under_way_at_the_death_has_an_excuse() {
        let died = Instant::now() + Duration::from_secs(60);
        let deaths = [("a".to_owned(), died)];
        let open = |begun: Instant, took| Opened {
            begun,
            took: Duration::from_millis(took),
            outcome: Err("lost".to_owned()),
            tried: 1,
            from: None,
        };
        let before = died - Duration::from_millis(50);
        assert!(died_with(&open(before, 60), "a", &deaths));
        assert!(died_with(&open(died + NOT_SEEN_YET / 2, 5_000), "a", &deaths), "it was given to the dead");
        assert!(!died_with(&open(before, 60), "b", &deaths));
        assert!(!died_with(&open(before, 40), "a", &deaths), "it had failed before");
        assert!(!died_with(&open(died + NOT_SEEN_YET, 10), "a", &deaths), "the death was known");
    }
}
