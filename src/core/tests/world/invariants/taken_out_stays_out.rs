//! DESIGN's sixth: a draining or disabled member gets no new session from any gateway that has seen the change.
//! Seen is seen: also when whoever told it is gone, and those who are left have not heard.

use warren_core::{balance::Plan, state::Intent};

use crate::world::World;

pub(crate) fn planned(world: &World, session: u64, plan: &Plan) -> Result<(), String> {
    let gateway = world.sessions[&session].gateway;
    for choice in &plan.choices {
        let seen = world.books.seen.get(&(gateway, *choice));
        if let Some((applied, intent)) = seen.filter(|(_, intent)| *intent != Intent::Enabled) {
            return Err(format!(
                "{choice} is chosen, and g{gateway} has seen at {applied} that it is {intent:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use warren_core::state::{Command, Intent};

    use crate::{faults::Fault, net::Node, setup::Setup, world::World};

    #[test]
    fn it_holds_though_only_a_member_is_left_that_has_not_heard() {
        let agents = |other| (Node::Agent(2), Node::Agent(other));
        let mut setup = Setup { end: 40_000, ..Setup::quiet() };
        for other in 0..2 {
            let (near, far) = agents(other);
            setup = setup.with(4_000, 30_000, Fault::Cut(near, far));
            setup = setup.with(10_000, 20_000, Fault::Crash { node: Node::Agent(other), told: true });
        }
        let mut world = World::new(1, |_| setup);
        world.at_time(7_000, |world| {
            let member = world.ids[2];
            world
                .propose(0, Command::Intent { member, intent: Intent::Draining, force: false })
                .unwrap()
                .unwrap();
        });
        world.live().unwrap();
        let served = world.began(12_000, 24_000).filter(|session| !session.tried.is_empty()).count();
        assert_eq!(served, 0, "nobody but the drained member was there");
    }
}
