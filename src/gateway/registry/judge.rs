//! From what the gateway sees to what people are told.

use std::collections::{BTreeMap, BTreeSet};

use warren_core::{
    id::{AgentId, Name},
    state::Verdict,
    status::{
        GroupFacts, GroupHealth, GroupJudged, Judged, MemberFacts, MemberStatus, Since, Witness, judge_group,
        judge_member,
    },
    view::Role,
};
use warren_wire::convert::Snapshot;

use super::{GroupObserved, MemberObserved, observed::count};

type Members = BTreeMap<AgentId, MemberObserved>;

/// How a group and each of its agents stand.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub group: GroupJudged,
    /// Members, agents with a tunnel, and agents that have enrolled.
    pub members: BTreeMap<AgentId, Judged<MemberStatus>>,
    /// What the other members say of each.
    pub witness: BTreeMap<AgentId, Witness>,
}

/// A judgement, and since when it is so. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub struct Standing {
    pub judgement: Judgement,
    pub since_ms: u64,
    pub members_since_ms: BTreeMap<AgentId, u64>,
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
    let (resources_lost, resources_thin) = view.map_or((0, 0), |view| unreached(view, serves));
    let facts = GroupFacts {
        members: judged.values().map(|(facts, judged)| (facts.clone(), judged.status)).collect(),
        known: view.is_some(),
        quorum: view.is_some_and(|view| view.quorum),
        resources_lost,
        resources_thin,
    };
    let group = judge_group(&facts);
    let witness = judged.iter().map(|(id, (facts, _))| (*id, facts.witness)).collect();
    Judgement { group, members: judged.into_iter().map(|(id, (_, judged))| (id, judged)).collect(), witness }
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
        witness: if member.is_some() { witness(members, id) } else { Witness::default() },
        vitals: seen.and_then(|seen| seen.snapshot.as_ref()).map(|own| own.vitals).unwrap_or_default(),
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

/// What the other members say of it, as far as this gateway hears them.
fn witness(members: Option<&Members>, id: AgentId) -> Witness {
    let others =
        members.into_iter().flatten().filter(|(other, seen)| **other != id && seen.serving_tunnels() > 0);
    let words = others.filter_map(|(_, seen)| seen.snapshot.as_deref()?.hears.as_ref());
    words.fold(Witness::default(), |sum, hears| Witness {
        heard_by: sum.heard_by + u32::from(hears.contains(&id)),
        asked: sum.asked + 1,
    })
}

/// Resources that somebody judges Down, and who does.
fn downs(view: &Snapshot) -> BTreeMap<&Name, BTreeSet<AgentId>> {
    let mut downs: BTreeMap<&Name, BTreeSet<AgentId>> = BTreeMap::new();
    let down = view.verdicts.iter().filter(|(_, judged)| judged.verdict == Verdict::Down);
    for ((member, resource), _) in down.filter(|((_, resource), _)| view.resources.contains_key(resource)) {
        downs.entry(resource).or_default().insert(*member);
    }
    downs
}

/// Resources that the member judges Down while another one, whose word is fresh, reaches them. A target that nobody
/// reaches is the target's fault.
fn down_here_only(view: &Snapshot, seen: Option<&Members>, id: AgentId) -> u32 {
    let serving = seen.into_iter().flatten().filter(|(_, member)| member.serving_tunnels() > 0);
    let others: Vec<AgentId> = serving.map(|(other, _)| *other).filter(|other| *other != id).collect();
    let reach =
        |resource: &Name| others.iter().any(|other| view.resource_verdict(*other, resource) == Verdict::Up);
    count(downs(view).into_iter().filter(|(resource, down)| down.contains(&id) && reach(resource)))
}

/// How many resources no member that serves reaches, and how many only one of several does.
fn unreached(view: &Snapshot, serves: impl Fn(&AgentId) -> bool) -> (u32, u32) {
    let serving: BTreeSet<AgentId> = view.members.keys().copied().filter(serves).collect();
    let left = |down: &BTreeSet<AgentId>| serving.difference(down).count();
    let downs = downs(view);
    let with = |many: usize| count(downs.values().filter(|down| serving.len() > many && left(down) == many));
    (with(0), with(1))
}

/// What this gateway remembers for judging a group.
#[derive(Debug, Default)]
pub(super) struct Stand {
    /// Agents that have enrolled and were not revoked, as of the last look into the store.
    pub(super) enrolled: Vec<AgentId>,
    group: Since<GroupHealth>,
    members: BTreeMap<AgentId, Since<MemberStatus>>,
}

impl Stand {
    pub(super) fn note(&mut self, judgement: Judgement, now_ms: u64) -> Standing {
        self.members.retain(|id, _| judgement.members.contains_key(id));
        let since_ms = self.group.note(&judgement.group.status, now_ms);
        let members = judgement.members.iter().map(|(id, judged)| {
            let since = self.members.entry(*id).or_default();
            (*id, since.note(&judged.status, now_ms))
        });
        Standing { since_ms, members_since_ms: members.collect(), judgement }
    }
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

    fn tunnel() -> TunnelObserved {
        TunnelObserved {
            slot: 0,
            since: Instant::now(),
            liveness: Liveness::Alive,
            rtt: None,
            draining: false,
        }
    }

    fn observed(view: Snapshot, members: [(bool, Option<&[u64]>); 3]) -> GroupObserved {
        let view = Arc::new(view);
        let member = |(connected, hears): (bool, Option<&[u64]>)| {
            let hears = hears.map(|hears| hears.iter().copied().map(agent).collect());
            let tunnels = if connected { vec![tunnel()] } else { Vec::new() };
            let snapshot = Snapshot { hears, ..(*view).clone() };
            MemberObserved { tunnels, sessions: 0, snapshot: Some(Arc::new(snapshot)) }
        };
        let members = (1..).map(agent).zip(members.map(member)).collect();
        GroupObserved { group: group(), label: "site".into(), view: Some(view), members }
    }

    /// Three members, of which the third is silent; what each says of the one resource.
    fn status(said: [Verdict; 3]) -> [MemberStatus; 2] {
        let mut view = snapshot(1, &[1, 2, 3], &["db"]);
        for (number, verdict) in (1..).zip(said) {
            view.verdicts.insert((agent(number), name("db")), Said { verdict, ..Said::default() });
        }
        let observed = observed(view, [(true, None), (true, None), (false, None)]);
        let judgement = judge(Some(&observed), &[]);
        [1, 2].map(|number| judgement.members[&agent(number)].status)
    }

    #[test]
    fn those_who_are_left_tell_whether_a_silent_member_lives() {
        let told = |members| {
            let judgement = judge(Some(&observed(snapshot(1, &[1, 2, 3], &[]), members)), &[]);
            judgement.members[&agent(3)].clone()
        };
        let table: [(_, &str); 4] = [
            ([(true, Some(&[2][..])), (true, Some(&[1])), (false, None)], "none of 2 members hears it"),
            ([(true, Some(&[2, 3])), (true, Some(&[1])), (false, None)], "it lives, 1 of 2 members hear it"),
            // Whoever has no tunnel either said it long ago.
            ([(false, Some(&[2, 3])), (true, Some(&[1])), (false, None)], "none of 1 members hears it"),
            ([(true, None), (true, None), (false, None)], "no other member that could say"),
        ];
        for (members, expected) in table {
            let told = told(members);
            assert_eq!(told.status, MemberStatus::NoResponse);
            assert!(told.reason.contains(expected), "{} {expected}", told.reason);
        }
        let cut_off = told([(true, Some(&[2])), (true, Some(&[1])), (true, Some(&[]))]);
        assert_eq!(cut_off.status, MemberStatus::Degraded, "{}", cut_off.reason);
    }

    #[test]
    fn a_resource_on_one_member_is_a_risk_and_on_none_a_loss() {
        let of = |down: &[u64]| {
            let mut view = snapshot(1, &[1, 2, 3], &["db"]);
            for number in down {
                let said = Said { verdict: Verdict::Down, ..Said::default() };
                view.verdicts.insert((agent(*number), name("db")), said);
            }
            judge(Some(&observed(view, [(true, None); 3])), &[]).group.why.as_str()
        };
        assert_eq!(of(&[1]), "all_serve");
        assert_eq!(of(&[1, 2]), "resources_thin");
        assert_eq!(of(&[1, 2, 3]), "resources_lost");
    }

    #[test]
    fn a_standing_has_its_time() {
        let mut stand = Stand::default();
        let mut at = |connected: bool, now_ms| {
            let members = [(true, None), (true, None), (connected, None)];
            let observed = observed(snapshot(1, &[1, 2, 3], &[]), members);
            let standing = stand.note(judge(Some(&observed), &[]), now_ms);
            (standing.since_ms, standing.members_since_ms[&agent(3)], standing.members_since_ms[&agent(1)])
        };
        assert_eq!(at(true, 10), (10, 10, 10));
        assert_eq!(at(true, 20), (10, 10, 10));
        assert_eq!(at(false, 30), (30, 30, 10));
        assert_eq!(at(false, 40), (30, 30, 10));
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
