//! From what the gateway sees to what people are told.

use std::collections::{BTreeMap, BTreeSet};

use warren_core::{
    id::{AgentId, Name},
    state::Verdict,
    status::{GroupFacts, GroupHealth, Judged, MemberFacts, MemberStatus, judge_group, judge_member},
    view::Role,
};
use warren_wire::convert::Snapshot;

use super::{GroupObserved, MemberObserved, observed::count};

type Members = BTreeMap<AgentId, MemberObserved>;

/// How a group and each of its agents stand.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub group: Judged<GroupHealth>,
    /// Members, agents with a tunnel, and agents that have enrolled.
    pub members: BTreeMap<AgentId, Judged<MemberStatus>>,
}

/// Judges a group by what the gateway sees and by who has `enrolled` and was not revoked.
pub fn judge(observed: Option<&GroupObserved>, enrolled: &[AgentId]) -> Judgement {
    let view = observed.and_then(|observed| observed.view.as_deref());
    let seen = observed.map(|observed| &observed.members);
    let mut ids: BTreeSet<AgentId> = enrolled.iter().copied().collect();
    ids.extend(view.iter().flat_map(|view| view.members.keys()));
    ids.extend(seen.iter().flat_map(|seen| seen.keys()));
    let judged: BTreeMap<_, _> = ids
        .into_iter()
        .map(|id| {
            let facts = facts(view, seen, id);
            let judged = judge_member(&facts);
            (id, (facts, judged))
        })
        .collect();
    let serves = |id: &AgentId| judged.get(id).is_some_and(|(_, judged)| judged.status.serves());
    let facts = GroupFacts {
        members: judged.values().map(|(facts, judged)| (facts.clone(), judged.status)).collect(),
        known: view.is_some(),
        quorum: view.is_some_and(|view| view.quorum),
        resources_lost: view.map_or(0, |view| resources_lost(view, serves)),
    };
    let group = judge_group(&facts);
    Judgement { group, members: judged.into_iter().map(|(id, (_, judged))| (id, judged)).collect() }
}

fn facts(view: Option<&Snapshot>, members: Option<&Members>, id: AgentId) -> MemberFacts {
    let seen = members.and_then(|members| members.get(&id));
    let member = view.and_then(|view| view.members.get(&id));
    let tunnels = seen.map_or(0, |seen| count(seen.tunnels.iter()));
    let applied = seen.and_then(|seen| seen.snapshot.as_ref()).map(|snapshot| snapshot.revision);
    let down = view.map_or(0, |view| down_here_only(view, members, id));
    MemberFacts {
        intent: member.map(|member| member.intent),
        tunnels_serving: seen.map_or(0, MemberObserved::serving_tunnels),
        tunnels,
        draining: seen.is_some_and(|seen| seen.tunnels.iter().any(|tunnel| tunnel.draining)),
        verdict: member.map_or(Verdict::Up, |member| member.verdict.verdict),
        resources_down: down,
        behind: match (view, applied) {
            (Some(view), Some(applied)) => view.revision.saturating_sub(applied),
            _ => 0,
        },
        voter: member.is_some_and(|member| member.role == Some(Role::Voter)),
        trouble: seen
            .and_then(|seen| seen.snapshot.as_ref())
            .map_or_else(String::new, |snapshot| snapshot.trouble.clone()),
    }
}

/// Resources that the member judges Down while another one, whose word is fresh, reaches them. A target that nobody
/// reaches is the target's fault.
fn down_here_only(view: &Snapshot, seen: Option<&Members>, id: AgentId) -> u32 {
    let serving = seen.into_iter().flatten().filter(|(_, member)| member.serving_tunnels() > 0);
    let others: Vec<AgentId> = serving.map(|(other, _)| *other).filter(|other| *other != id).collect();
    let says = |member, resource: &Name, verdict| view.resource_verdict(member, resource) == verdict;
    count(view.resources.keys().filter(|resource| {
        says(id, resource, Verdict::Down) && others.iter().any(|other| says(*other, resource, Verdict::Up))
    }))
}

/// Resources that every member which serves judges Down.
fn resources_lost(view: &Snapshot, serves: impl Fn(&AgentId) -> bool) -> u32 {
    let serving: Vec<_> = view.members.keys().filter(|id| serves(id)).collect();
    let lost = |resource| serving.iter().all(|id| view.resource_verdict(**id, resource) == Verdict::Down);
    if serving.is_empty() { 0 } else { count(view.resources.keys().filter(|resource| lost(resource))) }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use warren_core::state::Judged as Said;
    use warren_tunnel::Liveness;

    use super::*;
    use crate::{
        registry::TunnelObserved,
        testing::{agent, group, name, snapshot},
    };

    /// Three members, of which the third is silent; what each says of the one resource.
    fn status(said: [Verdict; 3]) -> [MemberStatus; 2] {
        let mut view = snapshot(1, &[1, 2, 3], &["db"]);
        for (number, verdict) in (1..).zip(said) {
            view.verdicts.insert((agent(number), name("db")), Said { verdict, ..Said::default() });
        }
        let view = Arc::new(view);
        let tunnel = TunnelObserved {
            slot: 0,
            since: Instant::now(),
            liveness: Liveness::Alive,
            rtt: None,
            draining: false,
        };
        let member = |tunnels| MemberObserved { tunnels, sessions: 0, snapshot: Some(view.clone()) };
        let members = BTreeMap::from([
            (agent(1), member(vec![tunnel.clone()])),
            (agent(2), member(vec![tunnel])),
            (agent(3), member(Vec::new())),
        ]);
        let observed =
            GroupObserved { group: group(), label: "site".into(), view: Some(view.clone()), members };
        let judgement = judge(Some(&observed), &[]);
        [1, 2].map(|number| judgement.members[&agent(number)].status)
    }

    #[test]
    fn a_target_that_nobody_reaches_is_not_the_members_fault() {
        use MemberStatus::{Active, Degraded};
        use Verdict::{Down, Suspect, Up};
        assert_eq!(status([Down, Up, Up]), [Degraded, Active]);
        assert_eq!(status([Down, Down, Down]), [Active, Active]);
        // What a silent member said long ago, or a doubt, does not show that the target can be reached.
        assert_eq!(status([Down, Down, Up]), [Active, Active]);
        assert_eq!(status([Down, Suspect, Down]), [Active, Active]);
    }
}
