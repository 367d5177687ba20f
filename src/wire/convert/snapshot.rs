//! A member's view of its group, on its way to a gateway.

use std::collections::{BTreeMap, BTreeSet};

use warren_core::{
    config::Resource,
    id::{AgentId, Name},
    state::{Intent, Judged, Revision, Verdict},
    view::{GroupView, Role},
    vitals::Vitals,
};

use super::{
    ConvertError, intent, judged, read_agent, read_intent, read_judged, read_resource, read_role,
    read_vitals, role,
};
use crate::v1;

/// What a gateway learns from one member.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub member: AgentId,
    /// The last revision that this member has applied.
    pub revision: Revision,
    pub leader: Option<AgentId>,
    pub term: u64,
    pub quorum: bool,
    pub applied: u64,
    /// What members of an earlier epoch say does not count.
    pub epoch: u64,
    /// Why the member takes no part in its group, empty while it does.
    pub trouble: String,
    pub resources: BTreeMap<Name, SnapshotResource>,
    pub members: BTreeMap<AgentId, SnapshotMember>,
    /// Absent means Up.
    pub verdicts: BTreeMap<(AgentId, Name), Judged>,
    /// The whole config, YAML.
    pub document: String,
    pub own: v1::SelfReport,
    /// By its own account.
    pub vitals: Vitals,
    /// Other members that it hears; `None` when it does not say.
    pub hears: Option<BTreeSet<AgentId>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotResource {
    pub resource: Resource,
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotMember {
    pub name: String,
    pub peer_address: String,
    pub intent: Intent,
    pub weight: u16,
    pub tier: u8,
    pub verdict: Judged,
    /// `None` while it is not in the log's membership.
    pub role: Option<Role>,
    pub version: String,
}

impl Snapshot {
    pub fn resource_verdict(&self, member: AgentId, resource: &Name) -> Verdict {
        // Asked for every member at every open, and seldom is anything judged: no copy of the name for that.
        if self.verdicts.is_empty() {
            return Verdict::Up;
        }
        self.verdicts.get(&(member, resource.clone())).map_or(Verdict::Up, |judged| judged.verdict)
    }
}

/// Writes down what `view` shows.
pub fn snapshot(view: &GroupView, own: v1::SelfReport) -> v1::GroupSnapshot {
    let state = &view.state;
    let resources = state.config.resources.iter().map(|(name, resource)| v1::Resource {
        name: name.to_string(),
        target: resource.target.to_string(),
        policy: resource.policy.to_string(),
        description: resource.description.clone(),
        revision: state.resource_revisions.get(name).copied().unwrap_or(state.revision),
    });
    let members = state.members.iter().map(|(id, member)| v1::Member {
        id: id.to_string(),
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        intent: intent(member.intent).into(),
        weight: member.weight.into(),
        tier: member.tier.into(),
        verdict: Some(judged(&member.verdict)),
        role: role(view.roles.get(id).copied()).into(),
        version: member.version.clone(),
    });
    let verdicts = state.resource_verdicts.iter().flat_map(|(member, resources)| {
        resources.iter().map(|(resource, verdict)| v1::ResourceVerdict {
            member: member.to_string(),
            resource: resource.to_string(),
            judged: Some(judged(verdict)),
        })
    });
    v1::GroupSnapshot {
        member: view.me.to_string(),
        revision: state.revision,
        leader: view.leader.map(|id| id.to_string()).unwrap_or_default(),
        term: view.term,
        quorum: view.quorum,
        applied: view.applied,
        trouble: view.trouble.to_string(),
        epoch: view.epoch,
        resources: resources.collect(),
        members: members.collect(),
        verdicts: verdicts.collect(),
        document: state.config.to_yaml(),
        self_: Some(own),
        hears: Some(v1::Witness { members: view.hears.iter().map(ToString::to_string).collect() }),
    }
}

pub fn read_snapshot(snapshot: &v1::GroupSnapshot) -> Result<Snapshot, ConvertError> {
    let mut resources = BTreeMap::new();
    for resource in &snapshot.resources {
        let read = SnapshotResource { resource: read_resource(resource)?, revision: resource.revision };
        resources.insert(resource.name.parse()?, read);
    }
    let mut members = BTreeMap::new();
    for member in &snapshot.members {
        let weight = u16::try_from(member.weight).map_err(|_| ConvertError::Weight(member.weight))?;
        let read = SnapshotMember {
            name: member.name.clone(),
            peer_address: member.peer_address.clone(),
            intent: read_intent(member.intent)?,
            weight,
            tier: u8::try_from(member.tier).map_err(|_| ConvertError::Tier(member.tier))?,
            verdict: read_judged(member.verdict.as_ref())?,
            role: read_role(member.role)?,
            version: member.version.clone(),
        };
        members.insert(member.id.parse()?, read);
    }
    let mut verdicts = BTreeMap::new();
    for verdict in &snapshot.verdicts {
        let key = (verdict.member.parse()?, verdict.resource.parse()?);
        verdicts.insert(key, read_judged(verdict.judged.as_ref())?);
    }
    let own = snapshot.self_.unwrap_or_default();
    let hears = snapshot.hears.as_ref().map(|witness| witness.members.iter().map(|id| id.parse()).collect());
    Ok(Snapshot {
        member: read_agent(&snapshot.member)?.ok_or(ConvertError::Missing("member"))?,
        revision: snapshot.revision,
        leader: read_agent(&snapshot.leader)?,
        term: snapshot.term,
        quorum: snapshot.quorum,
        applied: snapshot.applied,
        trouble: snapshot.trouble.clone(),
        epoch: snapshot.epoch,
        resources,
        members,
        verdicts,
        document: snapshot.document.clone(),
        vitals: read_vitals(&own)?,
        own,
        hears: hears.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use warren_core::state::{Change, Command, GroupState, Proposal, RequestId, VerdictChange};

    use super::*;

    fn state() -> GroupState {
        let mut state = GroupState::default();
        let member = AgentId::from_random(7);
        let (name, resource) = ("db".parse::<Name>().unwrap(), "db.corp:5432".parse().unwrap());
        let resource = Resource { target: resource, policy: Default::default(), description: "main".into() };
        let commands = [
            Command::Join {
                member,
                name: "a".into(),
                peer_address: "10.0.0.1:7400".into(),
                version: "0.1".into(),
            },
            Command::Config {
                expected: None,
                change: Change::CreateResource { name: name.clone(), resource },
            },
            Command::Verdicts {
                changes: vec![VerdictChange {
                    member,
                    resource: Some(name),
                    verdict: Verdict::Down,
                    detail: "refused".into(),
                }],
            },
        ];
        for (number, command) in commands.into_iter().enumerate() {
            let request = RequestId(number as u128);
            state.apply(&Proposal { request, author: "t".into(), at_ms: 9, command }).unwrap();
        }
        state
    }

    #[test]
    fn a_view_reads_back_what_was_written() {
        let me = AgentId::from_random(7);
        let view = GroupView {
            me,
            state: Arc::new(state()),
            leader: Some(me),
            term: 3,
            quorum: true,
            roles: BTreeMap::from([(me, Role::Voter)]),
            hears: BTreeSet::from([AgentId::from_random(8)]),
            last_log: 9,
            committed: 9,
            applied: 8,
            trouble: "".into(),
            epoch: 1,
        };
        let mut own = v1::SelfReport { sessions: 4, ..Default::default() };
        let mut vitals = Vitals::default();
        vitals.read(warren_core::vitals::Vital::Files, 99, 100, 7);
        crate::convert::tell_vitals(&mut own, &vitals);
        let read = read_snapshot(&snapshot(&view, own)).unwrap();
        assert_eq!(
            (read.member, read.leader, read.term, read.quorum, read.applied),
            (me, Some(me), 3, true, 8)
        );
        let db: Name = "db".parse().unwrap();
        assert_eq!(read.resources[&db].resource, view.state.config.resources[&db]);
        assert_eq!(read.resource_verdict(me, &db), Verdict::Down);
        assert_eq!(read.members[&me].role, Some(Role::Voter));
        assert_eq!((read.revision, read.own, read.vitals), (1, own, vitals));
        assert_eq!(read.hears, Some(view.hears));
        assert_eq!(warren_core::config::GroupConfig::parse("t", &read.document).unwrap(), view.state.config);
    }

    #[test]
    fn an_unknown_member_id_is_refused() {
        let wire = v1::GroupSnapshot { member: "bob".into(), ..Default::default() };
        assert!(read_snapshot(&wire).unwrap_err().to_string().contains("`bob` is not an agent id"));
    }
}
