//! DESIGN's fifth: loss of quorum stops edits, never traffic; loss of the cloud stops traffic, never the group.

use crate::{session::Outcome, truth::Of, world::World};

/// A tunnel is there again so long after what broke it is over: the longest wait for a dial, and the dial.
pub(crate) const RETURNS_WITHIN: u64 = 40_000;

/// A caller is sent away for want of a member only if no member has been able to take it for long.
pub(crate) fn served(world: &World, session: u64) -> Result<(), String> {
    let session = &world.sessions[&session];
    if session.outcome != Some(Outcome::NoMember) {
        return Ok(());
    }
    let gateway = &world.gateways[session.gateway];
    let Some((_, state)) = &gateway.view else {
        // Nobody of the group has come yet.
        return if world.now < RETURNS_WITHIN || !gateway.members.is_empty() {
            Ok(())
        } else {
            unseen(world, session.gateway)
        };
    };
    let enabled = |id| state.members.get(id).is_some_and(|m| m.intent == warren_core::state::Intent::Enabled);
    for (agent, id) in world.ids.iter().enumerate() {
        let drains = gateway.tunnels.iter().any(|(tunnel, own)| tunnel.agent == agent && own.drains);
        if enabled(id)
            && !session.tried.contains(id)
            && !drains
            && gateway.best_tunnel(agent, world.now).is_some()
        {
            return Err(format!("no member, and a{agent} has a tunnel to g{}", session.gateway));
        }
    }
    Ok(())
}

fn unseen(world: &World, gateway: usize) -> Result<(), String> {
    let node = world.gateways[gateway].node();
    let well = |of| !world.truth.was_on(of, RETURNS_WITHIN, world.now);
    let able = |agent: &crate::agent::Agent| {
        well(Of::Process(agent.node())) && well(Of::Way(agent.node().min(node), agent.node().max(node)))
    };
    match world.agents.iter().find(|agent| able(agent)) {
        Some(agent) if well(Of::Process(node)) => {
            Err(format!("g{gateway} knows nobody, and a{} is well", agent.number))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use warren_core::state::Command;

    use crate::{faults::Fault, net::Node, session::Outcome, setup::Setup, world::World};

    /// No member hears another for a minute.
    fn scattered() -> Setup {
        let mut setup = Setup { end: 60_000, ..Setup::quiet() };
        for near in 0..3 {
            for far in (0..3).filter(|far| *far != near) {
                setup = setup.with(5_000, 50_000, Fault::Cut(Node::Agent(near), Node::Agent(far)));
            }
        }
        setup
    }

    #[test]
    fn without_quorum_every_session_is_carried_and_no_edit_made() {
        let mut world = World::new(2, |_| scattered());
        for at in [10_000, 30_000, 50_000] {
            world.at_time(at, |world| {
                let member = world.ids[0];
                assert_eq!(world.propose(0, Command::Weight { member, weight: 7 }), None);
            });
        }
        world.live().unwrap();
        assert!(world.books.edits_refused >= 3);
        let mut sessions = world.began(6_000, 59_000);
        assert!(sessions.all(|session| session.outcome == Some(Outcome::Open) && session.tried.len() == 1));
        assert!(world.began(6_000, 59_000).count() > 400);
    }

    #[test]
    fn without_the_cloud_the_group_goes_on() {
        let gone = Fault::Crash { node: Node::Gateway(0), told: true };
        let mut world = World::new(3, |_| Setup { end: 60_000, ..Setup::quiet() }.with(5_000, 50_000, gone));
        for at in [10_000, 30_000, 50_000] {
            world.at_time(at, |world| {
                let member = world.ids[0];
                world.propose(1, Command::Weight { member, weight: 7 }).unwrap().unwrap();
            });
        }
        world.live().unwrap();
        assert!(world.agents.iter().all(|agent| agent.applied == world.site.log.len()));
    }
}
