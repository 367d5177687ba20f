//! Groups, and how one is doing.

use serde::Serialize;
use warren_wire::v1;

use super::{Moment, Resource, member::Member, some};
use crate::output::{Page, Row, View};

#[derive(Debug, Serialize)]
pub(crate) struct Group {
    id: String,
    name: String,
    customer: Option<String>,
    state: String,
    agents: u32,
    created: Moment,
}

/// What `groups status` shows; the shape is fixed by the command-line contract.
#[derive(Debug, Serialize)]
pub(crate) struct GroupStatus {
    group: String,
    group_id: String,
    state: String,
    /// Stable word for the reason.
    why: String,
    reason: String,
    since: Moment,
    leader: Option<String>,
    revision: u64,
    quorum: bool,
    term: u64,
    members: Vec<Member>,
    resources: Vec<Resource>,
}

impl From<v1::Group> for Group {
    fn from(group: v1::Group) -> Self {
        let v1::Group { id, name, customer, created_s, state, agents } = group;
        Self { id, name, customer: some(customer), state, agents, created: Moment::from_seconds(created_s) }
    }
}

impl From<v1::GroupStatus> for GroupStatus {
    fn from(status: v1::GroupStatus) -> Self {
        Self {
            group: status.group,
            group_id: status.group_id,
            state: status.state,
            why: status.why,
            reason: status.reason,
            since: Moment::from_millis(status.since_ms),
            leader: some(status.leader),
            revision: status.revision,
            quorum: status.quorum,
            term: status.term,
            members: status.members.into_iter().map(Member::from).collect(),
            resources: status.resources.into_iter().map(Resource::from).collect(),
        }
    }
}

impl Row for Group {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "CUSTOMER", "STATE", "AGENTS", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.customer.clone().unwrap_or_default(),
            self.state.clone(),
            self.agents.to_string(),
            self.created.ago(),
        ]
    }
}

impl View for Group {
    fn page(&self, page: &mut Page) {
        page.field("id", &self.id);
        page.field("name", &self.name);
        page.field("customer", self.customer.as_deref().unwrap_or("none (org-only)"));
        page.field("state", &self.state);
        page.field("agents", self.agents);
        page.field("created", self.created.full());
    }
}

impl View for GroupStatus {
    fn page(&self, page: &mut Page) {
        page.field("group", format!("{} ({})", self.group, self.group_id));
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        page.field("state", format!("{}{why}", self.state));
        page.field("since", self.since.full());
        page.field("leader", self.leader_name());
        page.field("revision", self.revision);
        let quorum = match self.quorum {
            true => "yes",
            false if self.members.is_empty() => "no: nothing can be configured before an agent has joined",
            false => "no: sessions go on, config cannot be changed",
        };
        page.field("quorum", quorum);
        page.table(Member::COLUMNS, self.members.iter().map(Member::cells));
        if !self.resources.is_empty() {
            page.table(Resource::COLUMNS, self.resources.iter().map(Row::cells));
        }
        let troubles: Vec<_> = self.members.iter().flat_map(Member::told_troubles).collect();
        if !troubles.is_empty() {
            page.table(&["MEMBER", "OF", "VERDICT", "SINCE", "WHY"], troubles);
        }
    }
}

impl GroupStatus {
    fn leader_name(&self) -> String {
        let Some(id) = &self.leader else { return "none".into() };
        let name = self.members.iter().find(|member| member.id == *id).map(|member| member.name.as_str());
        name.map_or_else(|| id.clone(), |name| format!("{name} ({id})"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status() -> GroupStatus {
        let judged = v1::Judged { verdict: v1::Verdict::Down.into(), since_ms: 5, detail: "refused".into() };
        let trouble =
            v1::ResourceVerdict { member: "agt-1".into(), resource: "db".into(), judged: Some(judged) };
        let member = v1::MemberStatus {
            id: "agt-1".into(),
            name: "site-a".into(),
            status: "Active".into(),
            role: "leader".into(),
            revision: 7,
            tunnels: 2,
            weight: 100,
            certificate_expires_s: 60,
            troubles: vec![trouble],
            ..Default::default()
        };
        let resource =
            v1::ResourceView { name: "db".into(), listen: "127.0.0.1:5".into(), ..Default::default() };
        let status = v1::GroupStatus {
            group: "demo".into(),
            state: "Healthy".into(),
            leader: "agt-1".into(),
            revision: 7,
            quorum: true,
            members: vec![member],
            resources: vec![resource],
            ..Default::default()
        };
        GroupStatus::from(status)
    }

    #[test]
    fn status_has_the_shape_of_the_contract() {
        let value = serde_json::to_value(status()).unwrap();
        for key in ["group", "state", "leader", "revision", "quorum", "members", "resources"] {
            assert!(!value[key].is_null(), "{key}");
        }
        let member = value["members"][0].as_object().unwrap();
        let contract = json!({"id": "agt-1", "name": "site-a", "status": "Active", "role": "leader", "revision": 7,
            "tunnels": 2, "sessions": 0, "weight": 100, "certificate_expires": "1970-01-01T00:01:00Z"});
        for (key, expected) in contract.as_object().unwrap() {
            assert_eq!(member.get(key), Some(expected), "{key}");
        }
        assert_eq!(value["members"][0]["troubles"][0]["verdict"], "down");
    }

    #[test]
    fn an_unknown_leader_is_null_for_programs_and_none_for_people() {
        let status = GroupStatus { leader: None, ..status() };
        assert_eq!(serde_json::to_value(&status).unwrap()["leader"], Value::Null);
        let mut page = Page::new(false);
        status.page(&mut page);
        assert!(page.finish().contains("leader    none\n"));
    }

    #[test]
    fn people_are_told_what_a_lost_quorum_means() {
        let told = |status: &GroupStatus| {
            let mut page = Page::new(false);
            status.page(&mut page);
            page.finish()
        };
        let lost = GroupStatus { quorum: false, ..status() };
        assert!(told(&lost).contains("quorum    no: sessions go on"));
        let empty = GroupStatus { members: Vec::new(), ..lost };
        assert!(told(&empty).contains("before an agent has joined"));
    }

    #[test]
    fn people_see_names_and_troubles() {
        let mut page = Page::new(false);
        status().page(&mut page);
        let text = page.finish();
        assert!(text.contains("leader    site-a (agt-1)"), "{text}");
        assert!(text.contains("refused"), "{text}");
    }
}
