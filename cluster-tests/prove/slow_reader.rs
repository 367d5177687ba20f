//! What a hundred fast callers feel of one that reads slowly, and what it costs.

use std::time::Duration;

use warren_cluster_tests::{
    Site, hold,
    load::{self, Answers, Flood, Interactive, Summary},
};

const FAST: usize = 100;
const EVERY: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(10);
const PACE: u64 = 10_000;
const ROUNDS: usize = 5;

pub(crate) fn prove() {
    let seed = load::seed(1);
    let mut site = Site::builder().start();
    // One tunnel, so that there is no other for the fast ones to be on.
    site.add_agent("agent-1", &["--tunnels", "1"]);
    site.wait_for_members(1);
    let answers = site.resource("answers", Answers::new().address);
    let flood = Flood::start(seed);
    let slowly = site.resource("slowly", flood.address);
    let run = || -> Summary {
        let interactive = Interactive::start(answers, FAST, EVERY, seed);
        hold("they talk", TIME, || interactive.alive() == FAST);
        let summary = interactive.finish();
        assert!(summary.failures.is_empty(), "{:?}", summary.failures.first());
        summary
    };
    drop(run());
    let resident = || [&site.gateway, &site.agents[0].process].map(|one| one.resident_bytes() >> 10);
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let before = resident();
        let without = run().quantile(0.99);
        let idle = resident();
        let slow = flood.slow_reader(slowly, PACE);
        let with = run().quantile(0.99);
        let held = resident();
        let grown = |index: usize| held[index] as i64 - idle[index].max(before[index]) as i64;
        println!(
            "round {round}: p99 {without:.2?} without, {with:.2?} with; it read {} bytes; gateway {:+} KiB, agent {:+} KiB",
            slow.read(),
            grown(0),
            grown(1)
        );
        slow.finish().expect("the bytes that were read are right");
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "p99 with / without: median {:.2}, from {:.2} to {:.2}",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
    println!("the target could say {} KiB in all", flood.said() >> 10);
}
