//! The kernel's faults: packets dropped both ways, sockets killed, connections refused by a firewall.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use warren_cluster_tests::{
    Site, eventually, hold,
    load::{self, Answers, Bulk, Exchange, Interactive, Running, Sizes},
    netns::{self, Firewall},
};

use crate::resume::tell;

const INTERACTIVE: usize = 200;
const EVERY: Duration = Duration::from_millis(100);
const BULK: u64 = 4;
const EACH: u64 = 64 << 20;
const OUTAGE: Duration = Duration::from_secs(20);

pub(crate) fn prove() {
    netns::within(prove_within);
}

fn prove_within() {
    let firewall = Firewall::install();
    dropped(&firewall);
    outage(&firewall);
    again_and_again("ss -K of every tunnel", netns::kill_connections);
    again_and_again("nft reject with tcp reset on every tunnel", |gateway| {
        let ports = netns::connected_from(gateway);
        ports.iter().for_each(|port| firewall.reject_port(*port));
        hold("the firewall refuses", Duration::from_millis(500), || true);
        firewall.clear();
    });
}

struct Run {
    site: Site,
    interactive: Interactive,
}

impl Run {
    fn start(tunnels: usize) -> Self {
        let mut site = Site::builder().start();
        site.add_agent("agent-1", &["--tunnels", &tunnels.to_string()]);
        site.wait_for_members(1);
        let up = || netns::connected_from(site.listen()).len() == tunnels;
        eventually("the tunnels are up", Duration::from_secs(20), || up().then_some(()));
        let answers = site.resource("answers", Answers::new().address);
        let interactive = Interactive::start(answers, INTERACTIVE, EVERY, load::seed(1));
        Self { site, interactive }
    }

    /// Waits for answers to come again; the time that took.
    fn goes_on(&self) -> Duration {
        let before = self.interactive.answered();
        let some = INTERACTIVE as u64 * 5;
        let (_, took) = eventually("sessions go on", Duration::from_secs(60), || {
            (self.interactive.answered() > before + some).then_some(())
        });
        took
    }

    fn finish(self) {
        let summary = self.interactive.finish();
        tell(&summary);
        assert!(summary.failures.is_empty(), "{:?}", summary.failures.first());
    }
}

/// DROP both ways on one of two tunnels.
fn dropped(firewall: &Firewall) {
    println!("-- two tunnels, all packets of one dropped");
    for number in 0..2 {
        let run = Run::start(2);
        let one = netns::connected_from(run.site.listen())[number];
        firewall.drop_port(one);
        hold("the hole is there", Duration::from_secs(12), || true);
        run.goes_on();
        firewall.clear();
        run.finish();
    }
}

/// The only tunnel, and whatever tries to take its place.
fn outage(firewall: &Firewall) {
    println!("-- one tunnel, nothing reaches the gateway for {OUTAGE:?}");
    let run = Run::start(1);
    firewall.drop_port(run.site.listen().port());
    hold("the outage lasts", OUTAGE, || run.interactive.alive() == INTERACTIVE);
    firewall.clear();
    let took = run.goes_on();
    println!("{took:.1?} after its end all went on");
    run.finish();
}

/// A fault every two seconds, under load.
fn again_and_again(what: &str, hurt: impl Fn(SocketAddr)) {
    println!("-- two tunnels, every two seconds {what}");
    let run = Run::start(2);
    let pace = EACH / 20;
    let exchange = Exchange::start(pace);
    let bulk = run.site.resource("bulk", exchange.address);
    let sizes = Sizes { up: EACH, down: EACH };
    let bulks = Running::start(bulk, (0..BULK).map(|seed| Bulk { seed, sizes, pace }));
    let (start, mut times) = (Instant::now(), 0);
    while !bulks.is_finished() && start.elapsed() < Duration::from_secs(120) {
        hurt(run.site.listen());
        times += 1;
        hold("the tunnels live", Duration::from_secs(2), || true);
    }
    let took = start.elapsed();
    let lost = bulks.finish(&exchange);
    println!(
        "{times} times; {BULK} x {} MiB each way in {took:.1?}, {} lost or wrong",
        EACH >> 20,
        lost.len()
    );
    run.finish();
    assert!(lost.is_empty(), "{lost:?}");
}
