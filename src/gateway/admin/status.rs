//! How groups and agents stand, as people are shown it.

use std::{collections::BTreeSet, sync::Arc};

use tonic::Code;
use warren_core::{
    id::AgentId,
    state::{Verdict, WEIGHT_DEFAULT},
    status::{Judged, MemberStatus as Status},
    vitals::{Vital, Vitals},
};
use warren_wire::{
    convert::{self, Snapshot},
    v1::{self, GroupStatus, MemberStatus, ResourceVerdict},
};

use super::{Api, clock::now_ms, error::Problem, resources};
use crate::{
    registry::{GroupObserved, Standing},
    store::{AgentRecord, GroupRecord},
};

/// All that is known of a group at one moment.
pub(super) struct Gathered {
    pub(super) group: GroupRecord,
    /// Revoked ones too.
    pub(super) agents: Vec<AgentRecord>,
    pub(super) observed: Option<Arc<GroupObserved>>,
    pub(super) standing: Standing,
}

impl Api {
    pub(super) async fn gather(&self, group: GroupRecord) -> Result<Gathered, Problem> {
        let agents = self.context.store.agents(Some(group.id)).await?;
        Ok(self.gather_with(group, agents))
    }

    /// As [`Self::gather`], when the group's agents are at hand.
    pub(super) fn gather_with(&self, group: GroupRecord, agents: Vec<AgentRecord>) -> Gathered {
        let observed = self.context.registry.group(group.id);
        let enrolled: Vec<AgentId> =
            agents.iter().filter(|agent| agent.revoked_s.is_none()).map(|agent| agent.id).collect();
        self.context.registry.enrolled(group.id, enrolled);
        let standing = self.context.registry.standing(group.id, now_ms());
        Gathered { group, agents, observed, standing }
    }

    /// What the group last said of itself.
    pub(super) fn view(&self, group: &GroupRecord) -> Result<Arc<Snapshot>, Problem> {
        let observed = self.context.registry.group(group.id);
        observed.and_then(|observed| observed.view.clone()).ok_or_else(|| {
            let message = format!(
                "group `{}` has not told this gateway anything yet: no member has a tunnel to it, or to another one that it reaches",
                group.name
            );
            Problem::new(Code::Unavailable, "no_member", message)
        })
    }
}

impl Gathered {
    pub(super) fn view(&self) -> Option<&Snapshot> {
        self.observed.as_ref()?.view.as_deref()
    }

    /// As people read it: the judged status, or that it was revoked.
    pub(super) fn status_of(&self, agent: &AgentRecord) -> &'static str {
        if agent.revoked_s.is_some() {
            return "Revoked";
        }
        self.judged(agent.id).map_or(Status::AwaitingSetup, |judged| judged.status).as_str()
    }

    pub(super) fn tunnels_of(&self, agent: AgentId) -> u32 {
        let member = self.observed.as_ref().and_then(|observed| observed.members.get(&agent));
        member.map_or(0, |member| u32::try_from(member.tunnels.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn sessions_of(&self, agent: AgentId) -> u32 {
        let member = self.observed.as_ref().and_then(|observed| observed.members.get(&agent));
        member.map_or(0, |member| member.sessions)
    }

    pub(super) fn serves(&self, agent: AgentId) -> bool {
        self.judged(agent).is_some_and(|judged| judged.status.serves())
    }

    fn judged(&self, agent: AgentId) -> Option<&Judged<Status>> {
        self.standing.judgement.members.get(&agent)
    }

    pub(super) fn status(&self, api: &Api) -> GroupStatus {
        let view = self.view();
        let judged = self.standing.judgement.group;
        let resources = view.iter().flat_map(|view| &view.resources);
        GroupStatus {
            group: self.group.name.to_string(),
            group_id: self.group.id.to_string(),
            state: judged.status.as_str().to_owned(),
            reason: judged.why.to_string(),
            why: judged.why.as_str().to_owned(),
            since_ms: self.standing.since_ms,
            leader: view.and_then(|view| view.leader).map(|leader| leader.to_string()).unwrap_or_default(),
            revision: view.map_or(0, |view| view.revision),
            quorum: view.is_some_and(|view| view.quorum),
            term: view.map_or(0, |view| view.term),
            members: self.shown_members().into_iter().map(|id| self.member(id)).collect(),
            resources: resources
                .map(|(name, resource)| resources::shown(api, self, name, resource))
                .collect(),
        }
    }

    /// Members of the group and agents that may become some; a revoked one only while the group still counts it.
    fn shown_members(&self) -> BTreeSet<AgentId> {
        let enrolled = self.agents.iter().filter(|agent| agent.revoked_s.is_none()).map(|agent| agent.id);
        let members = self.view().into_iter().flat_map(|view| view.members.keys().copied());
        enrolled.chain(members).collect()
    }

    fn member(&self, id: AgentId) -> MemberStatus {
        let record = self.agents.iter().find(|agent| agent.id == id);
        let view = self.view();
        let known = view.and_then(|view| view.members.get(&id));
        let seen = self.observed.as_ref().and_then(|observed| observed.members.get(&id));
        let own = seen.and_then(|seen| seen.snapshot.as_deref());
        let name = known.map(|known| known.name.clone()).filter(|name| !name.is_empty());
        let version = known.map(|known| known.version.clone()).filter(|version| !version.is_empty());
        let expires = own.map(|own| own.own.certificate_expires_s).filter(|&expires| expires > 0);
        let role = match known {
            Some(_) if view.and_then(|view| view.leader) == Some(id) => "leader",
            Some(known) => known.role.map_or("none", |role| role.as_str()),
            None => "none",
        };
        let judged = self.judged(id);
        let witness = self.standing.judgement.witness.get(&id).copied().unwrap_or_default();
        let status = match record {
            Some(record) => self.status_of(record),
            None => judged.map_or(Status::AwaitingSetup, |judged| judged.status).as_str(),
        };
        MemberStatus {
            id: id.to_string(),
            name: name.or_else(|| record.map(|record| record.name.to_string())).unwrap_or_default(),
            status: status.to_owned(),
            role: role.to_owned(),
            revision: own.map_or(0, |own| own.revision),
            tunnels: self.tunnels_of(id),
            sessions: self.sessions_of(id),
            weight: known.map_or(WEIGHT_DEFAULT, |known| known.weight).into(),
            certificate_expires_s: expires.or(record.map(|record| record.not_after_s)).unwrap_or_default(),
            version: version.or_else(|| record.map(|record| record.version.clone())).unwrap_or_default(),
            verdict: known.map(|known| convert::judged(&known.verdict)),
            rtt_us: seen
                .and_then(|seen| seen.rtt())
                .map_or(0, |rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            troubles: view.map(|view| troubles(view, id)).unwrap_or_default(),
            tier: known.map_or(0, |known| known.tier.into()),
            reason: judged.map(|judged| judged.reason.clone()).unwrap_or_default(),
            since_ms: self.standing.members_since_ms.get(&id).copied().unwrap_or_default(),
            heard_by: witness.heard_by,
            peers_asked: witness.asked,
            vitals: own.map(|own| vitals(&own.vitals)).unwrap_or_default(),
        }
    }
}

fn vitals(vitals: &Vitals) -> Vec<v1::Vital> {
    let known = Vital::ALL.into_iter().filter(|vital| vitals.of(*vital).limit > 0);
    let shown = |vital: Vital| v1::Vital {
        name: vital.as_str().to_owned(),
        reading: Some(convert::reading(vitals.of(vital))),
    };
    known.map(shown).collect()
}

fn troubles(view: &Snapshot, id: AgentId) -> Vec<ResourceVerdict> {
    let own =
        view.verdicts.iter().filter(|((member, _), judged)| *member == id && judged.verdict != Verdict::Up);
    own.map(|((member, resource), judged)| ResourceVerdict {
        member: member.to_string(),
        resource: resource.to_string(),
        judged: Some(convert::judged(judged)),
    })
    .collect()
}
