//! Whoever reads slowly waits for nobody but itself.

use std::time::Duration;

use warren_cluster_tests::{
    Site, eventually,
    load::{self, Answers, Bulk, Exchange, Flood, Interactive, Running, Sizes},
};

const EVERY: Duration = Duration::from_millis(20);
const MIB: u64 = 1 << 20;
/// Far less than the slow session lasts, and enough for a busy machine.
const STALL_MAX: Duration = Duration::from_secs(2);
/// What both processes may hold for one session that is read slowly: its windows, and the kernel's share is not theirs.
const HELD_MAX: u64 = 48 * MIB;

#[test]
fn fast_sessions_do_not_feel_a_slow_one_on_the_same_tunnel() {
    let seed = load::seed(1);
    let (site, _relay) = Site::builder().behind_relay(1, "");
    let answers = site.resource("answers", Answers::new().address);
    let exchange = Exchange::start(u64::MAX);
    let bulk = site.resource("bulk", exchange.address);
    let flood = Flood::start(seed);
    let slowly = site.resource("slowly", flood.address);
    let processes = [&site.gateway, &site.agents[0].process];

    let interactive = Interactive::start(answers, 20, EVERY, seed);
    let before = processes.map(|process| process.resident_bytes());
    let slow = flood.slow_reader(slowly, 10_000);
    let mut taken = 0;
    eventually("the slow session is full to the brim", Duration::from_secs(30), || {
        let (now, before) = (flood.said(), taken);
        taken = now;
        (now > 0 && now == before).then_some(())
    });
    let answered = interactive.answered();
    let sizes = Sizes { up: 8 * MIB, down: 8 * MIB };
    let lost = Running::start(bulk, [Bulk { seed, sizes, pace: u64::MAX }]).finish(&exchange);
    assert!(lost.is_empty(), "SEED={seed}: {lost:?}");
    eventually("the fast ones were asked often", Duration::from_secs(60), || {
        (interactive.answered() > answered + 2_000).then_some(())
    });
    assert!(slow.read() < 10_000 * 90, "it is slow: {}", slow.read());
    for (process, before) in processes.iter().zip(before) {
        let held = process.resident_bytes().saturating_sub(before);
        assert!(held < HELD_MAX, "{held} bytes more than without");
    }
    let summary = interactive.finish();
    assert!(summary.failures.is_empty(), "SEED={seed}: {:?}", summary.failures);
    assert!(summary.longest_stall() < STALL_MAX, "{:?}", summary.longest_stall());
    slow.finish().unwrap();
    assert!(flood.said() < 24 * MIB, "the target is held back, too: {} bytes", flood.said());
}
