//! Customers, users of the admin API, and what they did.

use serde::Serialize;
use warren_wire::v1;

use super::Moment;
use crate::output::{Page, Row, View};

#[derive(Debug, Serialize)]
pub(crate) struct Customer {
    id: String,
    name: String,
    groups: Vec<String>,
    created: Moment,
}

#[derive(Debug, Serialize)]
pub(crate) struct User {
    id: String,
    name: String,
    role: String,
    created: Moment,
}

/// The answer to `users create`, the only one with the user's bearer token.
#[derive(Debug, Serialize)]
pub(crate) struct NewUser {
    pub(crate) token: String,
    #[serde(flatten)]
    pub(crate) user: User,
}

#[derive(Debug, Serialize)]
pub(crate) struct AuditEntry {
    at: Moment,
    who: String,
    action: String,
    subject: String,
    outcome: String,
}

impl From<v1::Customer> for Customer {
    fn from(customer: v1::Customer) -> Self {
        let v1::Customer { id, name, created_s, groups } = customer;
        Self { id, name, groups, created: Moment::from_seconds(created_s) }
    }
}

impl From<v1::User> for User {
    fn from(user: v1::User) -> Self {
        let v1::User { id, name, role, created_s } = user;
        Self { id, name, role, created: Moment::from_seconds(created_s) }
    }
}

impl From<v1::AuditEntry> for AuditEntry {
    fn from(entry: v1::AuditEntry) -> Self {
        let v1::AuditEntry { at_ms, who, action, subject, outcome } = entry;
        Self { at: Moment::from_millis(at_ms), who, action, subject, outcome }
    }
}

impl Row for Customer {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "GROUPS", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), self.groups.join(", "), self.created.ago()]
    }
}

impl View for Customer {
    fn page(&self, page: &mut Page) {
        page.field("id", &self.id);
        page.field("name", &self.name);
        page.field("groups", self.groups.join(", "));
        page.field("created", self.created.full());
    }
}

impl Row for User {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "ROLE", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), self.role.clone(), self.created.ago()]
    }
}

impl User {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> &str {
        &self.role
    }
}

impl Row for AuditEntry {
    const COLUMNS: &'static [&'static str] = &["WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.full(),
            self.who.clone(),
            self.action.clone(),
            self.subject.clone(),
            self.outcome.clone(),
        ]
    }
}
