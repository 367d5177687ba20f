//! The balancer's own rules, over time: who is slow or fails gets little, who returns ramps up, callers that stick do.

#[cfg(test)]
mod tests {
    use warren_core::config::Policy;

    use crate::{faults::Fault, net::Node, setup::Setup, world::World};

    fn brief() -> Setup {
        Setup { session: 400, ..busy() }
    }

    fn busy() -> Setup {
        Setup { call_every: 40, session: 4_000, end: 50_000, ..Setup::quiet() }
    }

    /// The share of all sessions that a member got while it had this fault.
    fn share_under(fault: Fault, setup: Setup) -> f64 {
        let mut world = World::new(20, |_| setup.with(5_000, 44_000, fault));
        world.run_until(6_000).unwrap();
        world.books.tries.clear();
        world.run_until(48_000).unwrap();
        world.books.share(0)
    }

    #[test]
    fn a_member_fifty_times_slower_gets_less_than_a_twentieth() {
        let share = share_under(Fault::Slow(0), brief());
        assert!(share < 0.05, "{share:.3}");
        let share = share_under(Fault::Slow(0), Setup { agents: 2, ..brief() });
        assert!(share < 0.05, "{share:.3} of two");
    }

    #[test]
    fn failing_fast_attracts_nothing() {
        for policy in Policy::ALL {
            let share = share_under(Fault::FailsFast(0), Setup { policies: vec![policy], ..busy() });
            assert!(share < 0.05, "{policy}: {share:.3}");
        }
        let share = share_under(Fault::Path { agent: 0, resource: 0 }, busy());
        assert!(share < 0.05, "by its way: {share:.3}");
    }

    /// Of one life, a share scatters by about 0.04 around its mean; of so many, by 0.01.
    #[test]
    fn a_member_that_returns_ramps_up() {
        const LIVES: u32 = 16;
        let mut shares = [0.0; 3];
        for life in 0..LIVES {
            let gone = Fault::Crash { node: Node::Agent(0), told: true };
            let seed = 100 + u64::from(life);
            let mut world = World::new(seed, |_| Setup { end: 112_000, ..busy() }.with(40_000, 10_000, gone));
            let windows = [(52_000, 56_000), (65_000, 70_000), (90_000, 110_000)];
            for (share, (from, until)) in shares.iter_mut().zip(windows) {
                world.run_until(from).unwrap();
                world.books.tries.clear();
                world.run_until(until).unwrap();
                *share += world.books.share(0) / f64::from(LIVES);
            }
        }
        assert!((0.05..0.18).contains(&shares[0]), "{shares:.3?}");
        assert!((0.18..0.29).contains(&shares[1]), "{shares:.3?}");
        assert!((0.30..0.36).contains(&shares[2]), "{shares:.3?}");
    }

    #[test]
    fn callers_that_stick_come_back_to_the_member_that_returned() {
        let gone = Fault::Crash { node: Node::Agent(0), told: true };
        let setup =
            Setup { policies: vec![Policy::Sticky], call_every: 60, session: 400, end: 140_000, ..busy() };
        let mut world = World::new(22, |_| setup.with(40_000, 10_000, gone));
        world.run_until(139_000).unwrap();
        let homes = |world: &World, from, until| {
            let mut homes = std::collections::BTreeMap::new();
            for session in world.began(from, until) {
                homes
                    .entry(session.caller)
                    .or_insert_with(std::collections::BTreeSet::new)
                    .insert(session.tried[0]);
            }
            homes
        };
        let (before, after) = (homes(&world, 10_000, 39_000), homes(&world, 100_000, 138_000));
        assert!(before.len() > 10 && before.values().all(|members| members.len() == 1), "{before:?}");
        let used: std::collections::BTreeSet<_> = before.values().flatten().collect();
        assert_eq!(used.len(), 3, "callers have homes at all three");
        assert_eq!(before, after);
    }
}
