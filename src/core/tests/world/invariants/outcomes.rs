//! The reference: what really is the case says which failures are allowed.

use crate::{
    net::Node,
    session::{Attempt, Failed, Outcome, RETRIES_MAX},
    truth::Of,
    tunnel,
    world::World,
};

/// What went wrong may show so much later: silence is seen after 8 s, and an answer waited for 6.5 s.
const SHOWS_WITHIN: u64 = 16_000;

/// A member in touch with its group has applied a change by then.
const LAGS_AT_MOST: u64 = 3_000;

/// Every failed open has a cause in the world.
pub(crate) fn justified(world: &World, session: u64, attempt: Attempt, failed: Failed) -> Result<(), String> {
    let session = &world.sessions[&session];
    let (agent, gateway) = (attempt.tunnel.agent, session.gateway);
    let resource = world.resources.iter().position(|name| *name == session.resource).unwrap();
    let was = |of| world.truth.was_on(of, SHOWS_WITHIN, world.now);
    let (near, far) = (Node::Agent(agent), Node::Gateway(gateway));
    let link =
        was(Of::Process(near)) || was(Of::Process(far)) || was(Of::Way(near, far)) || was(Of::Member(agent));
    let site = link
        || (0..world.agents.len()).any(|other| {
            let other = Node::Agent(other);
            was(Of::Process(other)) || was(Of::Way(near.min(other), near.max(other)))
        });
    let cause = match failed {
        Failed::Answered(tunnel::Result::Refused) => {
            was(Of::Target(resource)) || was(Of::Path(agent, resource))
        }
        // A member that lags behind the group says so: for a moment after every change, and while the group has troubles.
        Failed::Answered(tunnel::Result::Internal) => {
            was(Of::Member(agent)) || site || world.now < world.books.config_changed + LAGS_AT_MOST
        }
        Failed::Answered(tunnel::Result::Draining) => was(Of::Member(agent)),
        Failed::Answered(tunnel::Result::Ok) => false,
        Failed::TunnelLost | Failed::NoAnswer => link,
    };
    match cause {
        true => Ok(()),
        false => Err(format!("a{agent} failed with {failed:?}, and nothing was wrong with it")),
    }
}

/// A session ends for one of the reasons there are, and not before all that may be tried was.
pub(crate) fn allowed(world: &World, session: u64) -> Result<(), String> {
    let number = session;
    let session = &world.sessions[&session];
    let tries = session.tried.len();
    let mut different = session.tried.clone();
    different.sort();
    different.dedup();
    if tries > RETRIES_MAX + 1 || different.len() != tries {
        return Err(format!("session {number} was tried on {:?}", session.tried));
    }
    match session.outcome {
        Some(Outcome::Failed { failed, exhausted }) => {
            let late = world.now >= session.begun + crate::session::RETRY_WITHIN;
            let out = tries == RETRIES_MAX + 1 || late || !budget_left(world, session.gateway);
            match exhausted && !out {
                true => Err(format!("session {number} ended with {failed:?} after {tries} tries")),
                false => Ok(()),
            }
        }
        Some(Outcome::Open) if tries == 0 => Err(format!("session {number} is open nowhere")),
        _ => Ok(()),
    }
}

/// With few retries in the last ten seconds, the budget cannot be empty.
fn budget_left(world: &World, gateway: usize) -> bool {
    let again = world.books.again.get(&gateway).map_or(0, std::collections::VecDeque::len);
    again < 90
}

#[cfg(test)]
mod tests {
    use crate::{faults::Fault, session::Outcome, setup::Setup, world::World};

    #[test]
    fn one_bad_member_of_three_costs_no_caller_anything() {
        let bad = [
            Fault::FailsFast(0),
            Fault::Path { agent: 0, resource: 0 },
            Fault::Exhausted(0),
            Fault::Slow(0),
            Fault::Drains(0),
        ];
        for (seed, fault) in (10..).zip(bad) {
            let setup = Setup { end: 60_000, ..Setup::quiet() }.with(5_000, 40_000, fault.clone());
            let mut world = World::new(seed, |_| setup);
            world.live().unwrap();
            let lost = world.began(2_000, 59_000).find(|session| session.outcome != Some(Outcome::Open));
            assert!(lost.is_none(), "{fault:?}: {lost:?}");
        }
    }
}
