//! After the last fault is over, everything comes back within the time that is stated, and then everybody is served at
//! once.

use warren_core::{
    balance::Tunnels,
    state::{Intent, Verdict},
};

use super::told;
use crate::{agent::SLOTS, gateway::Gateway, session::Outcome, world::World};

/// All tunnels, one state, true verdicts, nobody left out.
pub(crate) fn healed(world: &World) -> Result<(), String> {
    if !world.is_quiet() {
        return Err("a fault is still on".to_owned());
    }
    let behind = world.agents.iter().filter(|agent| agent.applied != world.site.log.len());
    let behind: Vec<_> = behind.map(|agent| agent.number).collect();
    if !behind.is_empty() {
        return Err(format!("members {} have not applied all", told(behind)));
    }
    let state = world.site.newest();
    for (id, member) in &state.members {
        if member.verdict.verdict != Verdict::Up {
            return Err(format!("{id} is judged {:?} by its peers", member.verdict));
        }
        for resource in &world.resources {
            if state.resource_verdict(*id, resource) != Verdict::Up {
                return Err(format!("{id} judges {resource} {:?}", state.resource_verdict(*id, resource)));
            }
        }
    }
    for agent in &world.agents {
        let verified = agent.uplink.verified_count();
        if verified != SLOTS {
            return Err(format!("a{} has {verified} tunnels", agent.number));
        }
    }
    world.gateways.iter().try_for_each(|gateway| serves(world, gateway))
}

fn serves(world: &World, gateway: &Gateway) -> Result<(), String> {
    let number = gateway.number;
    let Some((_, view)) = &gateway.view else { return Err(format!("g{number} knows nothing of the group")) };
    if *view != world.site.newest() {
        return Err(format!("g{number} knows an old state"));
    }
    for (agent, id) in world.ids.iter().enumerate() {
        if gateway.offers(agent, world.now) != Tunnels::Serving {
            let uplink = &world.agents[agent].uplink;
            return Err(format!("a{agent} has no good tunnel to g{number}: {uplink:?}"));
        }
        if let Some(until) = gateway.balancer.ejected_until(*id, world.at()) {
            return Err(format!("a{agent} is ejected at g{number} for {:?}", until - world.at()));
        }
        for resource in &world.resources {
            let candidate = gateway.candidate(view, resource, agent, *id, world.now);
            let fits = candidate.revision >= view.resource_revisions[resource]
                && candidate.verdict == Verdict::Up
                && !candidate.exhausted
                && candidate.member;
            if !fits {
                return Err(format!("a{agent} does not fit {resource} at g{number}: {candidate:?}"));
            }
        }
    }
    Ok(())
}

/// From then on each caller is served by the first member that is tried, unless people took all out.
pub(crate) fn served(world: &World, session: u64) -> Result<(), String> {
    let number = session;
    let session = &world.sessions[&session];
    if session.begun < world.setup.healed {
        return Ok(());
    }
    let anybody = world.site.newest().members.values().any(|member| member.intent == Intent::Enabled);
    match session.outcome {
        Some(Outcome::Open) if session.tried.len() == 1 => Ok(()),
        Some(Outcome::NoMember) if !anybody => Ok(()),
        outcome => Err(format!("session {number} after all is well: {outcome:?}, tried {:?}", session.tried)),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        faults::Fault,
        net::Node,
        setup::{HEALED_AT, Setup},
        world::World,
    };

    #[test]
    fn gateways_that_restart_one_after_the_other_share_the_tunnels_again() {
        let mut setup = Setup { gateways: 2, healed: HEALED_AT, end: HEALED_AT + 5_000, ..Setup::quiet() };
        for gateway in 0..2 {
            setup = setup.with(5_000 + 15_000 * gateway as u64, 10_000, Fault::GatewayDrains(gateway));
        }
        World::new(30, |_| setup).live().unwrap();
    }

    #[test]
    fn a_power_cut_at_the_site_is_over_when_the_power_is_back() {
        let mut setup = Setup { healed: HEALED_AT, end: HEALED_AT + 5_000, ..Setup::quiet() };
        for agent in 0..3 {
            setup = setup.with(10_000, 20_000, Fault::Crash { node: Node::Agent(agent), told: false });
        }
        World::new(31, |_| setup).live().unwrap();
    }
}
