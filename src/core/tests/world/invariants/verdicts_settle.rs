//! Evidence that swings makes no verdict swing with it.

#[cfg(test)]
mod tests {
    use crate::{faults::Fault, queue::Ms, setup::Setup, world::World};

    /// Changes of the verdict of one member on one resource in ten minutes, and how many of those in the second half. The
    /// way is cut `down` of every `down + up` milliseconds.
    fn changes(seed: u64, down: Ms, up: Ms) -> (u32, u32) {
        let mut setup = Setup { end: 600_000, call_every: 5_000, ..Setup::quiet() };
        let mut at = 5_000;
        while at + down < setup.end {
            setup = setup.with(at, down, Fault::Path { agent: 0, resource: 0 });
            at += down + up;
        }
        let mut world = World::new(seed, |_| setup);
        let count = |world: &World| world.books.verdicts.get(&(0, 0)).copied().unwrap_or_default();
        world.run_until(300_000).unwrap();
        let first = count(&world);
        world.live().unwrap();
        (count(&world), count(&world) - first)
    }

    #[test]
    fn a_way_that_comes_and_goes_settles() {
        for (down, up) in [(1_000, 1_000), (3_000, 3_000), (8_000, 6_000), (10_000, 10_000), (15_000, 5_000)]
        {
            let all: Vec<_> = (1..4).map(|seed| changes(seed, down, up)).collect();
            let settles = |(all, late): &(u32, u32)| *all <= 24 && *late <= 10;
            assert!(all.iter().all(settles), "{all:?} changes with {down} ms down and {up} ms up");
        }
    }

    #[test]
    fn one_long_outage_is_told_as_one() {
        assert!((2..=3).contains(&changes(9, 60_000, 600_000).0));
    }
}
