//! From what people type to records: an id or a name, and a clear word when the name fits several.

use warren_core::id::{AgentId, GroupId, TokenId};

use super::{Api, error::Problem};
use crate::store::{AgentRecord, CustomerRecord, GroupRecord, TokenRecord, UserRecord};

impl Api {
    pub(super) async fn find_customer(&self, text: &str) -> Result<CustomerRecord, Problem> {
        let customers = self.context.store.customers().await?;
        let by_id = customers.iter().find(|customer| customer.id.to_string() == text);
        let found = by_id.or_else(|| customers.iter().find(|customer| customer.name.as_str() == text));
        found.cloned().ok_or_else(|| Problem::unknown("customer", text))
    }

    /// By id, by `CUSTOMER/NAME`, or by name where only one group has it.
    pub(super) async fn find_group(&self, text: &str) -> Result<GroupRecord, Problem> {
        if text.is_empty() {
            return Err(Problem::invalid("group is missing, give its name or id"));
        }
        if let Ok(id) = text.parse::<GroupId>()
            && let Some(group) = self.context.store.group(id).await?
        {
            return Ok(group);
        }
        let mut groups = self.context.store.groups().await?;
        groups.retain(|group| group.label() == text || group.name.as_str() == text);
        let labels: Vec<String> = groups.iter().map(GroupRecord::label).collect();
        match groups.len() {
            0 => Err(Problem::unknown("group", text)),
            1 => Ok(groups.remove(0)),
            // An org-only group has no longer name than its own; it can still be told by its id.
            _ => {
                let names = groups.iter().zip(labels).map(|(group, label)| format!("{label} ({})", group.id));
                Err(Problem::ambiguous("group", text, &names.collect::<Vec<_>>()))
            }
        }
    }

    /// By id, also a revoked one; or by name where only one agent that is not revoked has it.
    pub(super) async fn find_agent(&self, text: &str) -> Result<AgentRecord, Problem> {
        if let Ok(id) = text.parse::<AgentId>() {
            let agent = self.context.store.agent(id).await?;
            return agent.ok_or_else(|| Problem::unknown("agent", text));
        }
        let mut agents = self.context.store.agents(None).await?;
        agents.retain(|agent| agent.name.as_str() == text && agent.revoked_s.is_none());
        match agents.len() {
            0 => Err(Problem::unknown("agent", text)),
            1 => Ok(agents.remove(0)),
            _ => {
                let ids: Vec<String> = agents.iter().map(|agent| agent.id.to_string()).collect();
                Err(Problem::ambiguous("agent", text, &ids))
            }
        }
    }

    pub(super) async fn find_token(&self, text: &str) -> Result<TokenRecord, Problem> {
        let id: TokenId = text.parse().map_err(Problem::invalid)?;
        let token = self.context.store.token(id).await?;
        token.ok_or_else(|| Problem::unknown("token", text))
    }

    pub(super) async fn find_user(&self, text: &str) -> Result<UserRecord, Problem> {
        let users = self.context.store.users().await?;
        let by_id = users.iter().find(|user| user.id.to_string() == text);
        let found = by_id.or_else(|| users.iter().find(|user| user.name.as_str() == text));
        found.cloned().ok_or_else(|| Problem::unknown("user", text))
    }
}
