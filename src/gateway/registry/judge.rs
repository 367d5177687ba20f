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
            let facts = facts(view, id, seen.and_then(|seen| seen.get(&id)));
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

fn facts(view: Option<&Snapshot>, id: AgentId, seen: Option<&MemberObserved>) -> MemberFacts {
    let member = view.and_then(|view| view.members.get(&id));
    let tunnels = seen.map_or(0, |seen| count(seen.tunnels.iter()));
    let applied = seen.and_then(|seen| seen.snapshot.as_ref()).map(|snapshot| snapshot.revision);
    let down = view.map_or(0, |view| count(down_here_only(view, id)));
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
    }
}

/// Resources that the member judges Down and another one does not. A target that nobody reaches is the target's fault.
fn down_here_only(view: &Snapshot, id: AgentId) -> impl Iterator<Item = &Name> {
    let is_down =
        move |member: AgentId, resource: &Name| view.resource_verdict(member, resource) == Verdict::Down;
    view.resources.keys().filter(move |resource| {
        let elsewhere = view.members.keys().any(|other| *other != id && !is_down(*other, resource));
        is_down(id, resource) && elsewhere
    })
}

/// Resources that every member which serves judges Down.
fn resources_lost(view: &Snapshot, serves: impl Fn(&AgentId) -> bool) -> u32 {
    let serving: Vec<_> = view.members.keys().filter(|id| serves(id)).collect();
    let lost = |resource| serving.iter().all(|id| view.resource_verdict(**id, resource) == Verdict::Down);
    if serving.is_empty() { 0 } else { count(view.resources.keys().filter(|resource| lost(resource))) }
}
