//! Every tunnel's connection cut every two seconds, while much is moved and many talk.

use std::time::{Duration, Instant};

use warren_cluster_tests::{
    Site, eventually,
    load::{self, Answers, Bulk, Exchange, Interactive, Running, Sizes, Summary},
    relay::Cut,
};

/// Sessions that move bytes, and how many each way.
const BULK: u64 = 16;
const EACH: u64 = (2 << 30) / BULK;
const INTERACTIVE: usize = 200;
const EVERY: Duration = Duration::from_millis(100);
const CUT_EVERY: Duration = Duration::from_secs(2);
const TIME_MAX: Duration = Duration::from_secs(900);

pub(crate) fn prove() {
    println!("-- 2 GiB each way, as fast as it goes");
    run(u64::MAX);
    println!("-- 2 GiB each way, at 16 x 2 MiB/s");
    run(2 << 20);
}

fn run(pace: u64) {
    let seed = load::seed(1);
    let (site, relay) = Site::builder().behind_relay(2, "");
    let exchange = Exchange::start(pace);
    let bulk = site.resource("bulk", exchange.address);
    let answers = site.resource("answers", Answers::new().address);
    let interactive = Interactive::start(answers, INTERACTIVE, EVERY, seed);
    let sizes = Sizes { up: EACH, down: EACH };
    let start = Instant::now();
    let bulks = Running::start(bulk, (0..BULK).map(|number| Bulk { seed: seed + number, sizes, pace }));
    let cutter = relay.cut_every(CUT_EVERY, Cut::All, seed);
    eventually("all bytes are moved", TIME_MAX, || bulks.is_finished().then_some(()));
    let took = start.elapsed();
    let lost = bulks.finish(&exchange);
    let inside = cutter.inside();
    let cuts = cutter.stop();
    let summary = interactive.finish();
    let moved = (BULK * EACH) as f64 / 1e6 / took.as_secs_f64();
    println!(
        "seed {seed}: {BULK} sessions in {took:.1?}, {moved:.0} MB/s each way, {} lost or wrong",
        lost.len()
    );
    println!("{cuts} connections cut, {inside} of them in the midst of data; {} were made", relay.accepted());
    tell(&summary);
    println!("gateway: {} MiB resident", site.gateway.resident_bytes() >> 20);
    println!("agent: {} MiB resident", site.agents[0].process.resident_bytes() >> 20);
    assert!(lost.is_empty() && summary.failures.is_empty(), "{lost:?} {:?}", summary.failures.first());
}

/// What interactive sessions felt.
pub(crate) fn tell(summary: &Summary) {
    println!(
        "{} answers, p50 {:.2?}, p99 {:.2?}, longest {:.2?}, {} sessions lost or wrong",
        summary.answers(),
        summary.quantile(0.5),
        summary.quantile(0.99),
        summary.longest_stall(),
        summary.failures.len()
    );
}
