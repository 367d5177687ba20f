//! What the gateway must not forget: who is who.
//!
//! Customers, groups, enrolled identities, registration tokens, users, audit, and which port belongs to which resource.
//! What a site does (resources, members' intents, verdicts) lives in the group's own log and never here.
//!
//! Several gateways may share one store, so whatever must happen once is decided by one statement of it: the use of a
//! token, the founder of a group, the first value of a setting.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;
use warren_core::id::{AgentId, CustomerId, GatewayId, GroupId, Name, TokenId, UserId};

mod model;
mod sql;

pub use model::{
    AgentRecord, AuditRecord, CustomerRecord, CustomerRef, EnrolRefusal, Enrolled, GatewayRecord,
    GroupRecord, ListenAt, ListenerRecord, NewAgent, Revocation, TokenRecord, TokenState, UserRecord,
    UserRole, UserRoleError,
};
pub use sql::{Counts, SqlStore, Whole, WholeError};

/// How many audit entries are kept; the oldest go first.
pub const AUDIT_MAX: u32 = 100_000;

/// Why the store did not do what it was asked; nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{what} `{name}` exists already")]
    Taken { what: &'static str, name: String },
    #[error("there is no {what} `{name}`")]
    Unknown { what: &'static str, name: String },
    #[error("customer `{name}` still has groups, delete them first")]
    CustomerInUse { name: String },
    #[error("`{name}` is the last admin: nobody could make another, create one first")]
    LastAdmin { name: String },
    /// Its database was not reached, or did not answer in time. What was asked may have been done all the same.
    #[error("store cannot {act}, its database does not answer")]
    Away {
        act: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("store cannot {act}")]
    Database {
        act: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("store holds {what} that cannot be read: {found}")]
    Corrupt { what: &'static str, found: String },
    #[error(
        "store holds {what} already: only an empty one is imported into, before a gateway's first start on it"
    )]
    NotEmpty { what: &'static str },
    #[error("store `{path}` has no tables of a gateway yet")]
    NoTables { path: String },
    #[error("store `{path}` has the tables of another version, start a gateway of this version on it first")]
    OtherTables { path: String },
    #[error("store `{path}` does not answer")]
    OpenAway {
        path: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("store `{path}` cannot be opened")]
    Open {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The store of one or more gateways. Times are seconds since the Unix epoch unless they end in `_ms`; every method
/// is one transaction.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Finishes what runs, and lets go of the store; nothing may be asked of it afterwards.
    async fn close(&self);

    // ---- settings of the store itself

    async fn setting(&self, key: &str) -> Result<Option<String>>;
    /// Keeps `value` unless another was kept before; returns the one that is kept. Of several gateways that start at
    /// once, all get the same.
    async fn settle(&self, key: &str, value: &str) -> Result<String>;

    // ---- customers

    async fn create_customer(&self, customer: &CustomerRecord) -> Result<()>;
    /// By name.
    async fn customers(&self) -> Result<Vec<CustomerRecord>>;
    async fn customer(&self, id: CustomerId) -> Result<Option<CustomerRecord>>;
    /// Refused while it has groups.
    async fn delete_customer(&self, id: CustomerId, now_s: u64) -> Result<()>;

    // ---- groups

    /// Names are unique within a customer, and among the org-only groups.
    async fn create_group(&self, group: &GroupRecord) -> Result<()>;
    /// By label.
    async fn groups(&self) -> Result<Vec<GroupRecord>>;
    /// `None` also for one that was deleted.
    async fn group(&self, id: GroupId) -> Result<Option<GroupRecord>>;
    /// Revokes its agents and tokens and forgets its listeners. Returns the agents that were not revoked before.
    async fn delete_group(&self, id: GroupId, now_s: u64) -> Result<Vec<AgentId>>;
    /// Whether `agent` is the one to start the group's log. Exactly one agent of a group ever gets `true`, again each
    /// time it asks, until [`Self::mark_founded`].
    async fn claim_founder(&self, group: GroupId, agent: AgentId) -> Result<bool>;
    /// The group's log exists: nobody may found it any more, not even the founder.
    async fn mark_founded(&self, group: GroupId) -> Result<()>;

    // ---- agents

    /// Takes one use of the token and records the agent, both or neither. The same token with the same key again gives
    /// the agent that it gave before, without another use, so that a lost answer can be asked for again.
    async fn enrol(
        &self,
        agent: &NewAgent,
        token: TokenId,
        now_s: u64,
    ) -> Result<Result<Enrolled, EnrolRefusal>>;
    /// Also one that was revoked.
    async fn agent(&self, id: AgentId) -> Result<Option<AgentRecord>>;
    /// Of one group, or of all that are not deleted; revoked ones too; by enrolment.
    async fn agents(&self, group: Option<GroupId>) -> Result<Vec<AgentRecord>>;
    /// A new certificate for an agent that is not revoked; `false` when it is, or is unknown.
    async fn renew_agent(&self, id: AgentId, serial: &str, not_after_s: u64) -> Result<bool>;
    async fn set_peer_address(&self, id: AgentId, peer_address: &str) -> Result<()>;
    /// What the agent's program says of itself when its tunnel comes up.
    async fn set_version(&self, id: AgentId, version: &str) -> Result<()>;
    /// For good. Frees the founding of its group if that has not been founded yet. `false` when it was revoked before.
    async fn revoke_agent(&self, id: AgentId, now_s: u64) -> Result<bool>;
    /// Revocations after number `after` (0 for all), in order; a gateway keeps them in memory and asks for news.
    async fn revocations(&self, after: u64) -> Result<Vec<Revocation>>;

    // ---- registration tokens

    async fn create_token(&self, token: &TokenRecord) -> Result<()>;
    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>>;
    /// Of one group, or of all that are not deleted; newest first.
    async fn tokens(&self, group: Option<GroupId>) -> Result<Vec<TokenRecord>>;
    /// Raises the group's generation, which ends every earlier token; returns the new one.
    async fn rotate_tokens(&self, group: GroupId) -> Result<u32>;
    /// `false` when it was revoked before.
    async fn revoke_token(&self, id: TokenId, now_s: u64) -> Result<bool>;

    // ---- listeners

    /// The addresses that belong to resources, so that a restart binds the same.
    async fn listeners(&self) -> Result<Vec<ListenerRecord>>;
    /// Keeps it unless the resource has one already; returns the one that is kept. Fails as taken when the address belongs
    /// to another resource.
    async fn keep_listener(&self, listener: &ListenerRecord) -> Result<ListenerRecord>;
    /// The address that it had.
    async fn delete_listener(&self, group: GroupId, resource: &Name) -> Result<Option<ListenAt>>;

    // ---- users

    async fn create_user(&self, user: &UserRecord) -> Result<()>;
    /// Creates the user, or gives the one of that name this role and token; it keeps its id.
    async fn replace_user(&self, user: &UserRecord) -> Result<()>;
    /// By name.
    async fn users(&self) -> Result<Vec<UserRecord>>;
    /// Whose bearer token has this hash.
    async fn user_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<UserRecord>>;
    /// Refused for the last admin.
    async fn delete_user(&self, id: UserId) -> Result<()>;

    // ---- news among gateways

    /// Rises with each change of what gateways keep in memory: revocations, groups, listeners, who serves. All else they ask
    /// of the store whenever they need it.
    async fn news(&self) -> Result<u64>;
    /// Changes when another gateway says that there are news; nobody should rely on hearing it.
    fn bell(&self) -> watch::Receiver<u64>;
    /// Whether other gateways may have it open.
    fn is_shared(&self) -> bool;
    /// A gateway says that it serves. When that is new, it is news, and those that have not said so for a day are forgotten.
    async fn beat(&self, gateway: &GatewayRecord) -> Result<()>;
    /// A gateway serves no more.
    async fn leave(&self, gateway: GatewayId) -> Result<()>;
    /// By id, also those that have been silent for a while.
    async fn gateways(&self) -> Result<Vec<GatewayRecord>>;

    // ---- audit

    /// Keeps the newest [`AUDIT_MAX`].
    async fn add_audit(&self, entry: &AuditRecord) -> Result<()>;
    /// Newest first, at most `limit`.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>>;
}

#[cfg(test)]
mod tests;
