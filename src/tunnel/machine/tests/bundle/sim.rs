//! Random lives of two processes and the tunnels between them. The same seed gives the same life.
//!
//! `WARREN_SEEDS=from..to`, or `WARREN_SEEDS=seed`, runs others than the usual ones.

use std::{
    num::NonZero,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use super::{
    judge::{Fair, Tally},
    world::World,
};

const SEEDS: Range<u64> = 0..3000;

#[test]
fn sessions_outlive_their_tunnels() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let tally = thread::scope(|scope| {
        let run = || {
            let mut tally = Tally::default();
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds.end {
                    return tally;
                }
                tally.add(&World::new(seed).run());
            }
        };
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut sum = Tally::default();
        for run in runs {
            sum.add(&run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        sum
    });
    println!("{count} seeds: {tally:?}");
    // A test that loses everything would pass the rest.
    if count >= 1000 {
        let lost = |fair| tally.losses.get(&fair).copied().unwrap_or(0);
        assert!(tally.opened > 6 * count && tally.resumed > count, "much happens: {tally:?}");
        assert!(tally.whole * 2 > tally.opened, "most sessions end whole: {tally:?}");
        assert!(lost(Fair::Expired) * 20 < tally.opened, "few sessions wait in vain: {tally:?}");
        let opens = [Fair::Unsaid, Fair::Unheard, Fair::Late, Fair::Busy].map(lost);
        assert!(opens.iter().sum::<u64>() * 3 < tally.opened, "most opens are answered: {tally:?}");
        assert!(opens.iter().all(|count| *count > 0), "{tally:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in 7..12 {
        assert_eq!(World::new(seed).run(), World::new(seed).run(), "seed {seed}");
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("WARREN_SEEDS") else { return SEEDS };
    let number = |text: &str| text.parse::<u64>().expect("WARREN_SEEDS is from..to or one seed");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}
