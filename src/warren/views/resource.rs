//! Resources and where callers reach them.

use serde::Serialize;
use warren_wire::v1;

use crate::output::{Page, Row, View};

/// The first four fields are fixed by the command-line contract.
#[derive(Debug, Serialize)]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) listen: String,
    pub(crate) revision: u64,
    target: String,
    policy: String,
    description: String,
    members_up: u32,
    members: u32,
}

impl From<v1::ResourceView> for Resource {
    fn from(view: v1::ResourceView) -> Self {
        let v1::ResourceView {
            name,
            group,
            target,
            policy,
            description,
            listen,
            revision,
            members_up,
            members,
        } = view;
        Self { name, group, listen, revision, target, policy, description, members_up, members }
    }
}

impl Row for Resource {
    const COLUMNS: &'static [&'static str] =
        &["RESOURCE", "GROUP", "LISTEN", "TARGET", "POLICY", "UP", "REVISION", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.group.clone(),
            self.listen.clone(),
            self.target.clone(),
            self.policy.clone(),
            format!("{}/{}", self.members_up, self.members),
            self.revision.to_string(),
            self.description.clone(),
        ]
    }
}

impl View for Resource {
    fn page(&self, page: &mut Page) {
        page.field("resource", &self.name);
        page.field("group", &self.group);
        page.field("listen", &self.listen);
        page.field("target", &self.target);
        page.field("policy", &self.policy);
        page.field("description", &self.description);
        page.field("up", format!("through {} of {} members", self.members_up, self.members));
        page.field("revision", self.revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_resource_has_what_scripts_read() {
        let view = v1::ResourceView {
            name: "db".into(),
            group: "demo".into(),
            listen: "127.0.0.1:5432".into(),
            revision: 3,
            ..Default::default()
        };
        let value = serde_json::to_value(Resource::from(view)).unwrap();
        assert_eq!(value["name"], "db");
        assert_eq!(value["group"], "demo");
        assert_eq!(value["listen"], "127.0.0.1:5432");
        assert_eq!(value["revision"], 3);
    }
}
