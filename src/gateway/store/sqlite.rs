//! The store in one SQLite file: the default, for one gateway.

use std::{net::SocketAddr, path::Path, time::Duration};

use async_trait::async_trait;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use warren_core::id::{AgentId, CustomerId, GroupId, Name, TokenId, UserId};
use warren_identity::keyfile;

use super::{
    AgentRecord, AuditRecord, CustomerRecord, EnrolRefusal, Enrolled, GroupRecord, ListenerRecord, NewAgent,
    Result, Revocation, Store, StoreError, TokenRecord, UserRecord,
};

mod agents;
mod audit;
mod customers;
mod enrol;
mod groups;
mod listeners;
mod rows;
mod settings;
mod tokens;
mod users;

/// SQLite writes one at a time whatever we do; a few more connections let readers go on meanwhile.
const CONNECTIONS_MAX: u32 = 4;
const BUSY_MAX: Duration = Duration::from_secs(5);
const ACQUIRE_MAX: Duration = Duration::from_secs(10);

/// A [`Store`] in one file, mode 0600. Every committed change is on disk before the call returns.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.display().to_string(),
            source,
        };
        // SQLite gives its side files the mode of the main one, so that is made first and private.
        keyfile::create_private(path, b"").map_err(|error| failed(error.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_MAX)
            .connect_with(options)
            .await
            .map_err(|error| failed(error.into()))?;
        sqlx::migrate!("./migrations").run(&pool).await.map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn close(&self) {
        self.pool.close().await;
    }

    async fn setting(&self, key: &str) -> Result<Option<String>> {
        settings::get(&self.pool, key).await
    }

    async fn settle(&self, key: &str, value: &str) -> Result<String> {
        settings::settle(&self.pool, key, value).await
    }

    async fn create_customer(&self, customer: &CustomerRecord) -> Result<()> {
        customers::create(&self.pool, customer).await
    }

    async fn customers(&self) -> Result<Vec<CustomerRecord>> {
        customers::list(&self.pool).await
    }

    async fn customer(&self, id: CustomerId) -> Result<Option<CustomerRecord>> {
        customers::get(&self.pool, id).await
    }

    async fn delete_customer(&self, id: CustomerId, now_s: u64) -> Result<()> {
        customers::delete(&self.pool, id, now_s).await
    }

    async fn create_group(&self, group: &GroupRecord) -> Result<()> {
        groups::create(&self.pool, group).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>> {
        groups::list(&self.pool).await
    }

    async fn group(&self, id: GroupId) -> Result<Option<GroupRecord>> {
        groups::get(&self.pool, id).await
    }

    async fn delete_group(&self, id: GroupId, now_s: u64) -> Result<Vec<AgentId>> {
        groups::delete(&self.pool, id, now_s).await
    }

    async fn claim_founder(&self, group: GroupId, agent: AgentId) -> Result<bool> {
        groups::claim_founder(&self.pool, group, agent).await
    }

    async fn mark_founded(&self, group: GroupId) -> Result<()> {
        groups::mark_founded(&self.pool, group).await
    }

    async fn enrol(
        &self,
        agent: &NewAgent,
        token: TokenId,
        now_s: u64,
    ) -> Result<Result<Enrolled, EnrolRefusal>> {
        enrol::enrol(&self.pool, agent, token, now_s).await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<AgentRecord>> {
        agents::get(&self.pool, id).await
    }

    async fn agents(&self, group: Option<GroupId>) -> Result<Vec<AgentRecord>> {
        agents::list(&self.pool, group).await
    }

    async fn renew_agent(&self, id: AgentId, serial: &str, not_after_s: u64) -> Result<bool> {
        agents::renew(&self.pool, id, serial, not_after_s).await
    }

    async fn set_peer_address(&self, id: AgentId, peer_address: &str) -> Result<()> {
        agents::set_peer_address(&self.pool, id, peer_address).await
    }

    async fn set_version(&self, id: AgentId, version: &str) -> Result<()> {
        agents::set_version(&self.pool, id, version).await
    }

    async fn revoke_agent(&self, id: AgentId, now_s: u64) -> Result<bool> {
        agents::revoke(&self.pool, id, now_s).await
    }

    async fn revocations(&self, after: u64) -> Result<Vec<Revocation>> {
        agents::revocations(&self.pool, after).await
    }

    async fn create_token(&self, token: &TokenRecord) -> Result<()> {
        tokens::create(&self.pool, token).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>> {
        tokens::get(&self.pool, id).await
    }

    async fn tokens(&self, group: Option<GroupId>) -> Result<Vec<TokenRecord>> {
        tokens::list(&self.pool, group).await
    }

    async fn rotate_tokens(&self, group: GroupId) -> Result<u32> {
        tokens::rotate(&self.pool, group).await
    }

    async fn revoke_token(&self, id: TokenId, now_s: u64) -> Result<bool> {
        tokens::revoke(&self.pool, id, now_s).await
    }

    async fn listeners(&self) -> Result<Vec<ListenerRecord>> {
        listeners::list(&self.pool).await
    }

    async fn save_listener(&self, listener: &ListenerRecord) -> Result<()> {
        listeners::save(&self.pool, listener).await
    }

    async fn delete_listener(&self, group: GroupId, resource: &Name) -> Result<Option<SocketAddr>> {
        listeners::delete(&self.pool, group, resource).await
    }

    async fn create_user(&self, user: &UserRecord) -> Result<()> {
        users::create(&self.pool, user).await
    }

    async fn replace_user(&self, user: &UserRecord) -> Result<()> {
        users::replace(&self.pool, user).await
    }

    async fn users(&self) -> Result<Vec<UserRecord>> {
        users::list(&self.pool).await
    }

    async fn user_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<UserRecord>> {
        users::by_token(&self.pool, token_hash).await
    }

    async fn delete_user(&self, id: UserId) -> Result<()> {
        users::delete(&self.pool, id).await
    }

    async fn add_audit(&self, entry: &AuditRecord) -> Result<()> {
        audit::add(&self.pool, entry).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>> {
        audit::list(&self.pool, limit).await
    }
}
