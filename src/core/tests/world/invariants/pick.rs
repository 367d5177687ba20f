//! Whoever is left out for a reason gets no session while there is anybody without one.

use warren_core::{
    balance::{Plan, Rule, Tunnels},
    state::{Intent, Verdict},
};

use crate::world::World;

/// The facts are gathered anew here, and judged without the balancer.
pub(crate) fn planned(world: &World, session: u64, plan: &Plan) -> Result<(), String> {
    let session = &world.sessions[&session];
    let gateway = &world.gateways[session.gateway];
    let Some((_, state)) = &gateway.view else { return Err("a plan without a view".to_owned()) };
    let wanted = state.resource_revisions.get(&session.resource).copied().unwrap_or_default();
    let (mut free, mut better) = (Vec::new(), Vec::new());
    for record in &plan.records {
        let agent = world.ids.iter().position(|id| *id == record.member).unwrap();
        let facts = gateway.candidate(state, &session.resource, agent, record.member, world.now);
        let stands_against = facts.tunnels != Tunnels::Serving
            || facts.intent != Intent::Enabled
            || !facts.member
            || facts.revision < wanted
            || facts.verdict == Verdict::Down
            || facts.exhausted
            || session.tried.contains(&record.member);
        if stands_against && record.excluded.is_none() {
            return Err(format!("{} is not left out: {facts:?}", record.member));
        }
        if record.excluded.is_none() {
            free.push(record.member);
        }
        if !stands_against {
            better.push((facts.tier, record.member));
        }
    }
    let first_tier = better.iter().filter(|(_, id)| free.contains(id)).map(|(tier, _)| *tier).min();
    for choice in &plan.choices {
        if !free.is_empty() && !free.contains(choice) {
            return Err(format!("{choice} is chosen while {free:?} are free"));
        }
        let tier = better.iter().find(|(_, id)| id == choice).map(|(tier, _)| *tier);
        if !free.is_empty() && tier > first_tier {
            return Err(format!(
                "{choice} of tier {tier:?} is chosen while tier {first_tier:?} has somebody"
            ));
        }
    }
    if plan.choices.is_empty() != (plan.rule == Rule::Nobody) {
        return Err(format!("{:?} with {} choices", plan.rule, plan.choices.len()));
    }
    Ok(())
}
