//! At most half of the members are ejected, whatever they do.

use crate::world::World;

pub(crate) fn at_most_half(world: &World, gateway: usize) -> Result<(), String> {
    let there = &world.gateways[gateway];
    let is_out = |id: &&warren_core::id::AgentId| there.balancer.ejected_until(**id, world.at()).is_some();
    let ejected = world.ids.iter().filter(is_out).count();
    match ejected * 2 <= world.agents.len() {
        true => Ok(()),
        false => Err(format!("{ejected} of {} members are ejected at g{gateway}", world.agents.len())),
    }
}

#[cfg(test)]
mod tests {
    use crate::{faults::Fault, setup::Setup, world::World};

    #[test]
    fn a_group_that_fails_as_a_whole_is_tried_as_a_whole() {
        let mut setup = Setup { agents: 4, end: 40_000, ..Setup::quiet() };
        for agent in 0..4 {
            setup = setup.with(5_000, 20_000, Fault::FailsFast(agent));
        }
        let mut world = World::new(5, |_| setup);
        let mut worst = 0;
        for at in (6_000..25_000).step_by(500) {
            world.run_until(at).unwrap();
            let there = &world.gateways[0];
            let out = world.ids.iter().filter(|id| there.balancer.ejected_until(**id, world.at()).is_some());
            worst = worst.max(out.count());
        }
        assert_eq!(worst, 2, "two of four, never three");
        world.live().unwrap();
        assert!((0..4).all(|agent| world.books.tries[&agent] > 10), "{:?}", world.books.tries);
    }
}
