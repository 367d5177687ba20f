//! Agents as the gateway's store and registry know them.

use serde::Serialize;
use warren_wire::v1;

use super::Moment;
use crate::output::{Page, Row, View};

#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    group: String,
    status: String,
    tunnels: u32,
    sessions: u32,
    version: String,
    peer_address: String,
    enrolled: Moment,
    certificate_expires: Moment,
}

impl From<v1::Agent> for Agent {
    fn from(agent: v1::Agent) -> Self {
        Self {
            id: agent.id,
            name: agent.name,
            group: agent.group,
            status: agent.status,
            tunnels: agent.tunnels,
            sessions: agent.sessions,
            version: agent.version,
            peer_address: agent.peer_address,
            enrolled: Moment::from_seconds(agent.enrolled_s),
            certificate_expires: Moment::from_seconds(agent.certificate_expires_s),
        }
    }
}

impl Row for Agent {
    const COLUMNS: &'static [&'static str] =
        &["ID", "NAME", "GROUP", "STATUS", "TUNNELS", "SESSIONS", "ENROLLED", "CERTIFICATE ENDS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.group.clone(),
            self.status.clone(),
            self.tunnels.to_string(),
            self.sessions.to_string(),
            self.enrolled.ago(),
            self.certificate_expires.ago(),
        ]
    }
}

impl View for Agent {
    fn page(&self, page: &mut Page) {
        page.field("id", &self.id);
        page.field("name", &self.name);
        page.field("group", &self.group);
        page.field("status", &self.status);
        page.field("tunnels", self.tunnels);
        page.field("sessions", self.sessions);
        page.field("version", &self.version);
        page.field("peer address", &self.peer_address);
        page.field("enrolled", self.enrolled.full());
        page.field("certificate ends", self.certificate_expires.full());
    }
}
