//! Registration tokens; only the answer to `tokens create` holds the token itself.

use serde::Serialize;
use warren_wire::v1;

use super::{Moment, some};
use crate::output::Row;

#[derive(Debug, Serialize)]
pub(crate) struct Token {
    id: String,
    group: String,
    customer: Option<String>,
    state: String,
    uses: u32,
    max_uses: Option<u32>,
    generation: u32,
    created: Moment,
    pub(crate) expires: Moment,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewToken {
    pub(crate) token: String,
    #[serde(flatten)]
    pub(crate) info: Token,
}

impl Token {
    /// How often it may be used, for people.
    pub(crate) fn limit(&self) -> String {
        match self.max_uses {
            None => "any number of agents".into(),
            Some(1) => "one agent".into(),
            Some(count) => format!("{count} agents"),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl From<v1::Token> for Token {
    fn from(token: v1::Token) -> Self {
        Self {
            id: token.id,
            group: token.group,
            customer: some(token.customer),
            state: token.state,
            uses: token.uses,
            max_uses: Some(token.max_uses).filter(|max| *max != 0),
            generation: token.generation,
            created: Moment::from_seconds(token.created_s),
            expires: Moment::from_seconds(token.expires_s),
        }
    }
}

impl Row for Token {
    const COLUMNS: &'static [&'static str] =
        &["ID", "GROUP", "CUSTOMER", "STATE", "USES", "GENERATION", "CREATED", "EXPIRES"];

    fn cells(&self) -> Vec<String> {
        let uses = match self.max_uses {
            Some(max) => format!("{} of {max}", self.uses),
            None => self.uses.to_string(),
        };
        vec![
            self.id.clone(),
            self.group.clone(),
            self.customer.clone().unwrap_or_default(),
            self.state.clone(),
            uses,
            self.generation.to_string(),
            self.created.ago(),
            self.expires.ago(),
        ]
    }
}
