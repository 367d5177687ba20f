//! DESIGN's seventh, for what core decides: retries stay within their budget, counts come back to nothing, what is
//! remembered has a bound.

use std::time::Duration;

use warren_core::state::{HISTORY_MAX, Intent};

use super::Books;
use crate::{agent::SLOTS, world::World};

/// A fifth of the first tries, ten a second, and what was saved up: a hundred.
pub(crate) fn retries(world: &World, gateway: usize) -> Result<(), String> {
    for seconds in [1, 10, 60] {
        let within = Duration::from_secs(seconds);
        let retries = Books::lately(&world.books.again, gateway, world.at(), within);
        let first = Books::lately(&world.books.first, gateway, world.at(), Duration::from_secs(86_400));
        let most = first / 5 + 10 * usize::try_from(seconds).unwrap() + 101;
        if retries > most {
            return Err(format!("{retries} retries within {seconds} s at g{gateway}, {first} first tries"));
        }
    }
    Ok(())
}

pub(crate) fn at_the_end(world: &World) -> Result<(), String> {
    for gateway in &world.gateways {
        for (id, member) in &gateway.members {
            let open = world.sessions.values().filter(|session| {
                session.gateway == gateway.number
                    && session.gateway_boot == gateway.boot
                    && session.on.is_some_and(|on| session.tried[on.number - 1] == *id)
            });
            let open = u32::try_from(open.count()).unwrap();
            if member.in_flight != open {
                return Err(format!(
                    "g{} counts {} on {id}, {open} are open",
                    gateway.number, member.in_flight
                ));
            }
        }
    }
    for agent in &world.agents {
        // One that looks for a gateway without a tunnel keeps the old one meanwhile.
        if agent.tunnels.len() > SLOTS + 1 {
            return Err(format!("a{} has {} connections", agent.number, agent.tunnels.len()));
        }
        if agent.state.history.len() > HISTORY_MAX {
            return Err(format!("a{} keeps {} revisions", agent.number, agent.state.history.len()));
        }
        let unknown = agent.state.resource_verdicts.keys().find(|id| !agent.state.members.contains_key(id));
        if unknown.is_some()
            || agent.state.members.values().any(|m| m.intent == Intent::Enabled && m.weight == 0)
        {
            return Err(format!("a{} has a verdict of nobody, or a member without weight", agent.number));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{faults::Fault, session::Outcome, setup::Setup, world::World};

    #[test]
    fn a_target_that_refuses_everybody_is_not_asked_twice_for_ever() {
        let mut setup = Setup { call_every: 4, session: 20, end: 12_000, ..Setup::quiet() };
        setup = setup.with(4_000, 8_000, Fault::Target(0));
        let mut world = World::new(6, |_| setup);
        world.live().unwrap();
        let failed = world.began(6_000, 12_000).filter(|s| matches!(s.outcome, Some(Outcome::Failed { .. })));
        let (mut sessions, mut tries) = (0, 0);
        for session in failed {
            sessions += 1;
            tries += session.tried.len();
        }
        assert!(sessions > 1_000);
        let per_session = tries as f64 / f64::from(sessions);
        assert!(per_session < 1.35, "{per_session:.2} tries a session");
    }
}
