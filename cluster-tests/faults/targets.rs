//! Targets that refuse, are silent, or look dead and are not.

use std::time::{Duration, Instant};

use super::{
    Seen,
    members::{failed, slowest},
    reach::SOON,
};
use crate::{Site, caller, eventually, opens::Opens, target};

/// How long an agent tries to reach a target.
const DIAL: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(20);

/// Row 29.
pub(super) fn refuses(seen: &mut Seen) {
    let site = Site::with_agents(2);
    let (echo, refusing) =
        (site.resource("echo", target::echo()), site.resource("refusing", target::refusing()));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        assert!(caller::ends_silently(refusing), "nothing answers there");
        slowest = slowest.max(start.elapsed());
    }
    seen.time("the caller told", slowest, Duration::from_millis(100), DIAL);
    let records = site.sessions("refusing");
    assert!(records.iter().all(|record| record["outcome"] == "refused"), "{records:?}");
    let (_, _) = eventually("both members carry sessions to another target", SOON, || {
        caller::open_echo(echo).expect("it is served");
        (site.spread("echo").len() == 2).then_some(())
    });
}

/// Row 30.
pub(super) fn silent(seen: &mut Seen) {
    let site = Site::with_agents(2);
    let (echo, hole) = (site.resource("echo", target::echo()), site.resource("hole", target::black_hole()));
    let opens = Opens::start(echo, 2, EVERY);
    let start = Instant::now();
    assert!(caller::ends_silently(hole), "nothing answers there");
    let took = start.elapsed();
    let record = &site.sessions("hole")[0];
    assert_eq!(record["outcome"], "timeout", "{record}");
    assert!(took > DIAL / 2, "it was tried: {took:?}");
    seen.time("the caller told", took, DIAL * 2 + Duration::from_millis(500), DIAL * 4);
    let done = opens.finish();
    seen.time("slowest open to another target", slowest(&done), Duration::from_millis(100), DIAL);
    seen.count("failed opens to another target", failed(&done), 0);
}

/// Row 33.
pub(super) fn looks_dead(seen: &mut Seen) {
    let mut site = Site::builder().start();
    let file = site.path("agent.yaml");
    // Once all have decided, nobody looks again while the trial lasts.
    std::fs::write(&file, "probe: {interval: 5s}\n").expect("the site's directory can be written");
    let file = file.to_str().expect("a temporary path is text");
    for name in ["agent-1", "agent-2", "agent-3"] {
        site.add_agent(name, &["--config", file]);
    }
    site.wait_for_members(3);
    let echo = target::SleepingEcho::new();
    let port = site.resource("echo", echo.address);
    eventually("all members say that it is down", SOON, || {
        (site.status()["reason"].to_string().contains("down from every member")).then_some(())
    });
    echo.wake();
    let start = Instant::now();
    let opens = Opens::start(port, 2, EVERY);
    eventually("callers come", SOON, || (opens.count() > 40).then_some(()));
    let done = opens.finish();
    assert!(start.elapsed() < SOON);
    let rules: Vec<_> = site
        .sessions("echo")
        .iter()
        .filter_map(|one| Some(one["attempts"][0]["rule"].as_str()?.to_owned()))
        .collect();
    assert!(rules.iter().any(|rule| rule == "panic"), "all are tried, for want of a better one: {rules:?}");
    seen.count("failed opens", failed(&done), 0);
    seen.time("slowest open", slowest(&done), Duration::from_millis(100), DIAL);
    assert!(site.spread("echo").len() > 1, "spread over {:?}", site.spread("echo"));
    let (_, took) = eventually("the group is healthy again", SOON, || {
        (site.status()["state"] == "Healthy").then_some(())
    });
    seen.told("healthy again", took);
}
