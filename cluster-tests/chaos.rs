//! A random mix of faults, drawn from a seed, on a site under load; then it must heal.
//!
//! ```text
//! seed ─▶ plan ─▶ director ─▶ world: processes killed and frozen, relays cut, silent, far; intents, tokens, newcomers
//!                    │           ▲           ▲
//!                    ▼        callers     editors         all along: every byte checked, every open and every edit kept
//!                 ledger         │           │
//!                    └──▶ invariants: what was seen, and what the faults of that moment excuse ──▶ report
//! ```
//!
//! What is drawn follows from the seed, and is told with its time as it happens. Who leads at a moment, and which byte is
//! under way at a cut, is up to the machine.

use std::time::{Duration, Instant};

use crate::history::Pace;

mod callers;
mod desk;
mod director;
mod evidence;
mod fault;
mod heal;
mod invariants;
mod ledger;
mod plan;
mod records;
mod report;
mod usage;
mod world;

pub use report::Report;

/// How long the load goes on before the first fault.
const WARM: Duration = Duration::from_secs(4);

/// How long, how wild, and beside which load.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub duration: Duration,
    /// Faults begun in a minute, in the mean.
    pub per_minute: f64,
    /// No fault lasts longer.
    pub hold_max: Duration,
    pub load: Load,
}

/// What goes on beside the faults.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Sessions begun in a second, each for one question.
    pub opens_per_second: u32,
    /// Sessions that talk for a while, and begin anew.
    pub talkers: u32,
    /// Bytes a second each way of one that moves much.
    pub bulk: u64,
    pub editors: Pace,
}

impl Options {
    /// What `prove chaos` runs.
    pub fn new(seed: u64, duration: Duration) -> Self {
        let load = Load {
            opens_per_second: 8,
            talkers: 9,
            bulk: 128 << 10,
            editors: Pace { clients: 3, every: Duration::from_millis(400) },
        };
        Self { seed, duration, per_minute: 12.0, hold_max: Duration::from_secs(12), load }
    }
}

/// Runs one mix; every event is told as it happens. The site's directories stay when the report is dropped by a panic.
pub fn run(options: &Options, mut say: impl FnMut(&str)) -> Report {
    let plan = plan::draw(options);
    let mut world = world::World::start();
    say(&format!("seed {}: {} faults drawn; logs in {}", options.seed, plan.len(), world.home().display()));
    let start = Instant::now();
    let records = records::Records::start(&world.site, start);
    let callers = callers::Callers::start(&world, options, start);
    let editors = world.edit(options, start);
    crate::wait::until(Instant::now() + WARM);
    let before = usage::Usage::of(&mut world);
    let mut director = director::Director::new(&mut world, start, &mut say);
    director.run(&plan, options.duration);
    let director::Outcome { ledger, mut violations, events } = director.finish();
    let healed = heal::heal(&mut world, &records, start, &mut say);
    let after = healed.is_ok().then(|| usage::wait_for(&mut world, &before));
    let told = editors.finish(&world.site);
    let sessions = callers.finish();
    violations.extend(healed.err().map(|why| format!("not healed: {why}")));
    violations.extend(after.as_ref().and_then(|(_, found)| found.clone()));
    violations.extend(usage::wait_for_silence(&mut world));
    let evidence = evidence::Evidence::gather(&world, ledger, sessions, &records, told);
    violations
        .extend(evidence.keep(&world).err().map(|error| format!("the evidence cannot be kept: {error}")));
    let findings = invariants::check(&evidence);
    let usage = (before, after.map(|(usage, _)| usage));
    Report::new(options, world, &evidence, events, violations, findings, usage)
}
