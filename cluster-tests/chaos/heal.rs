//! After the mix: everything is mended, and then the site must be as it was.

use std::time::{Duration, Instant};

use super::{
    desk::{Intent, Order, carry_out},
    plan::FOUNDERS,
    records::Records,
    world::World,
};
use crate::{
    GROUP, http,
    rpc::{
        Rpc,
        admin::{GroupState, GroupStatus},
    },
    within,
};

const CONVERGES_WITHIN: Duration = Duration::from_secs(60);
const SPREADS_WITHIN: Duration = Duration::from_secs(60);
const CALL_MAX: Duration = Duration::from_secs(5);

/// All members active, one leader, the same revision everywhere, and new sessions on every member; or what is not so.
pub(super) fn heal(
    world: &mut World,
    records: &Records,
    start: Instant,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let begun = Instant::now();
    world.newcomer = None;
    for ways in &world.members {
        ways.tunnels.heal();
        ways.peers.heal();
    }
    let admin = world.site.admin();
    for agent in &world.site.agents {
        within(CALL_MAX, || carry_out(&admin, &Order::Intent(agent.id.clone(), Intent::Enabled)).ok())
            .ok_or_else(|| format!("{} cannot be enabled", agent.name))?;
    }
    let mut last = String::new();
    let well = within(CONVERGES_WITHIN, || match is_well(world, &admin) {
        Ok(()) => Some(()),
        Err(why) => {
            last = why;
            None
        }
    });
    well.ok_or_else(|| format!("after {CONVERGES_WITHIN:?} {last}"))?;
    let at = start.elapsed();
    say(&format!("{:9.3} well again, {:.1?} after the last fault", at.as_secs_f64(), begun.elapsed()));
    let ids: Vec<&String> = world.site.agents.iter().map(|agent| &agent.id).collect();
    let spread = within(SPREADS_WITHIN, || {
        let carriers = records.carriers("answers", at);
        ids.iter().all(|id| carriers.contains(id)).then_some(())
    });
    let carriers = || format!("{:?} of {ids:?}", records.carriers("answers", at));
    spread.ok_or_else(|| format!("new sessions go to some members only: {}", carriers()))?;
    say(&format!("{:9.3} new sessions on every member", start.elapsed().as_secs_f64()));
    Ok(())
}

fn is_well(world: &mut World, admin: &Rpc) -> Result<(), String> {
    let ask = GroupStatus { group: GROUP.to_owned() };
    let status: GroupState = admin
        .call("Groups/Status", ask, CALL_MAX)
        .map_err(|failure| format!("the gateway does not say: {failure}"))?;
    let strange = status.members.iter().find(|member| {
        member.status != "Active"
            || member.revision != status.revision
            || !["leader", "voter"].contains(&&*member.role)
    });
    if let Some(member) = strange {
        return Err(format!("a member is not well at revision {}: {member:?}", status.revision));
    }
    if status.members.len() != FOUNDERS || !status.quorum {
        return Err(format!("the group is {status:?}"));
    }
    // By the members' own account: one leads, and all have applied the same.
    let (mut leaders, mut applied) = (0.0, Vec::new());
    for agent in &mut world.site.agents {
        let address = agent.process.address("metrics");
        let (_, text) = http::get(address, "/metrics").map_err(|error| format!("{}: {error}", agent.name))?;
        leaders += http::sum(&text, "warren_raft_is_leader", "");
        applied.push(http::sum(&text, "warren_group_revision", ""));
    }
    if leaders != 1.0 {
        return Err(format!("{leaders} members lead"));
    }
    // Editors go on meanwhile, so the members are compared with what was known before they were asked.
    if applied.iter().any(|revision| *revision < status.revision as f64) {
        return Err(format!("members have applied {applied:?} of revision {}", status.revision));
    }
    Ok(())
}
