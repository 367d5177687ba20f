//! Whole members on simulated hosts and a simulated network: real Raft, real gRPC, disks in memory, and a clock that runs
//! as fast as the processor allows.
//!
//! ```text
//!  faults ──▶ turmoil: partitions, delays, crashes ──▶ host (Group, tonic server and client, disk in memory) × 3 or 5
//!                                                       │ edits, reads         │ what it shows
//!                                                       └──────▶ oracle ◀──────┘
//! ```
//! `storms` plays as many seeds as `WARREN_SIM_SEEDS` says, from `WARREN_SIM_FROM` on. A seed fixes the faults and the
//! network's delays. It does not fix all: members draw their own waits, and tokio the order of its branches, so a seed that
//! failed may need some tries to fail again.
//!
//! Left out is what other tests have: TLS (its sockets are the agent's), and the thread and the file of the log (crash.rs);
//! here a crash leaves what was synced.

mod faults;
mod host;
mod net;
mod oracle;

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use turmoil::Sim;

use self::{faults::Faults, host::Host, oracle::Oracle};

/// Seeds that every run of the tests plays.
const SEEDS: u64 = 4;
/// How long things go wrong, in the simulated time.
const STORM: Duration = Duration::from_secs(10);
/// How long the group may take afterwards until all agree.
const CALM: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(4);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays one seed.
fn storm(seed: u64) -> Result<String, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(STORM + CALM * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .tcp_capacity(4_096)
        .build();
    let oracle = Arc::new(Oracle::default());
    let size = if seed.is_multiple_of(5) { 5 } else { 3 };
    let hosts: Vec<Arc<Host>> =
        (1..=size).map(|number| Arc::new(Host::new(number, size, rng.random(), oracle.clone()))).collect();
    for host in &hosts {
        let running = host.clone();
        sim.host(host.name(), move || running.clone().run());
    }
    until(&mut sim, &hosts, &oracle, CALM, || hosts.iter().all(|host| host.votes_of() == size))
        .map_err(|error| format!("the group did not form: {error}"))?;

    let mut faults = Faults::new(rng, &hosts);
    let end = sim.elapsed() + STORM;
    while sim.elapsed() < end {
        faults.act(&mut sim, &hosts);
        step(&mut sim, &hosts, &oracle).map_err(|error| format!("{error}\nfaults: {}", faults.told()))?;
    }
    faults.end(&mut sim, &hosts);
    oracle.end_of_storm();
    // Readers see an edit a moment after who made it hears of it.
    let shown = || hosts[0].state().revision >= oracle.floor();
    until(&mut sim, &hosts, &oracle, CALM, || oracle.settled() && shown() && host::agree(&hosts))
        .map_err(|error| format!("{error}\nfaults: {}", faults.told()))?;
    oracle.judge(&hosts[0].state()).map_err(|error| format!("{error}\nfaults: {}", faults.told()))
}

fn step(sim: &mut Sim<'_>, hosts: &[Arc<Host>], oracle: &Oracle) -> Result<(), String> {
    sim.step().map_err(|error| error.to_string())?;
    hosts.iter().for_each(|host| host.observe());
    oracle.violation().map_or(Ok(()), Err)
}

fn until(
    sim: &mut Sim<'_>,
    hosts: &[Arc<Host>],
    oracle: &Oracle,
    within: Duration,
    holds: impl Fn() -> bool,
) -> Result<(), String> {
    let end = sim.elapsed() + within;
    while !holds() {
        if sim.elapsed() >= end {
            let shown: Vec<_> = hosts.iter().map(|host| host.shown()).collect();
            return Err(format!("not settled within {within:?}: {shown:#?} {}", oracle.shown()));
        }
        step(sim, hosts, oracle)?;
    }
    Ok(())
}

fn live(seed: u64) {
    match storm(seed) {
        Ok(told) => println!("seed {seed}: {told}"),
        Err(report) => panic!("seed {seed}: {report}\nagain: WARREN_SIM_FROM={seed} WARREN_SIM_SEEDS=1"),
    }
}

#[test]
fn storms() {
    let (from, seeds) = (number("WARREN_SIM_FROM", 1), number("WARREN_SIM_SEEDS", SEEDS));
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || (from..from + seeds).filter(|seed| seed % 2 == half).for_each(live))
    });
    for half in halves {
        if let Err(panic) = half.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
