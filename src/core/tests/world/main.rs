//! The pure parts as one world: agents, gateways, callers and targets on a fake network, and everything goes wrong.
//!
//! `lives` plays as many seeds as `WARREN_WORLD_SEEDS` says, from `WARREN_WORLD_FROM` on. A life that breaks an invariant
//! is told with its seed, the faults and the last events; the same seed is the same life to the letter.
//!
//! ```text
//!  faults ──▶ net ──▶ agent (Uplink, Judge, Vitals, GroupState) ──▶ gateway (Balancer, RetryBudget, Word) ◀── callers
//!    │                  └── site: one log, a leader with a majority ──┘          │
//!    └──▶ truth ──────────────────────── invariants/* ◀─────────────────────────┘
//! ```

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a world that cannot go on has failed")]

mod agent;
mod calls;
mod chance;
mod dials;
mod event;
mod faults;
mod gateway;
mod invariants;
mod links;
mod net;
mod peers;
mod pings;
mod queue;
mod session;
mod setup;
mod site;
mod storm;
mod trouble;
mod truth;
mod tunnel;
mod world;

use setup::Setup;
use world::World;

/// Seeds that every run of the tests plays.
const SEEDS: u64 = 250;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn live(seed: u64) {
    if let Err(report) = World::new(seed, Setup::drawn).live() {
        panic!("seed {seed}: {report}\nagain: WARREN_WORLD_FROM={seed} WARREN_WORLD_SEEDS=1");
    }
}

#[test]
fn lives() {
    let (from, seeds) = (number("WARREN_WORLD_FROM", 1), number("WARREN_WORLD_SEEDS", SEEDS));
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || (from..from + seeds).filter(|seed| seed % 2 == half).for_each(live))
    });
    for half in halves {
        if let Err(panic) = half.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_is_a_life_to_the_letter() {
    let life = |seed| {
        let mut world = World::new(seed, Setup::drawn);
        world.live().unwrap();
        world.digest()
    };
    for seed in [3, 17] {
        assert_eq!(life(seed), life(seed));
    }
}
