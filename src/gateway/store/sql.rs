//! The store in a database that speaks SQL: SQLite, or PostgreSQL.
//!
//! Every statement stands once, in words that both understand; where they differ, `database` knows how. Each has a
//! deadline, and a database that is not there is told from one that says no ([`StoreError::Away`]).

use async_trait::async_trait;
use sqlx::migrate::MigrateError;
use tokio::sync::watch;
use warren_core::id::{AgentId, CustomerId, GatewayId, GroupId, Name, TokenId, UserId};

use super::{
    AgentRecord, AuditRecord, CustomerRecord, EnrolRefusal, Enrolled, GatewayRecord, GroupRecord, ListenAt,
    ListenerRecord, NewAgent, Result, Revocation, Store, StoreError, TokenRecord, UserRecord,
};
use crate::config::StoreLocation;

mod agents;
mod audit;
mod bell;
mod customers;
mod database;
mod enrol;
mod gateways;
mod groups;
mod listeners;
mod postgres;
mod row;
mod settings;
mod sqlite;
mod statement;
mod tokens;
mod users;
mod whole;

use bell::Bell;
use database::Database;
use statement::sql;
pub use whole::{Counts, Whole, WholeError};

/// A [`Store`] in SQLite or PostgreSQL.
#[derive(Debug, Clone)]
pub struct SqlStore {
    database: Database,
    bell: Bell,
}

impl SqlStore {
    /// Opens the store, or makes it, and brings its tables up to date. Of several gateways that do so at once, one does
    /// and the others wait.
    pub async fn open(location: &StoreLocation) -> Result<Self> {
        let store = Self::connect(location).await?;
        let migrated = match &store.database {
            Database::Sqlite(pool) => sqlite::MIGRATIONS.run(pool).await,
            Database::Postgres(pool) => postgres::MIGRATIONS.run(pool).await,
        };
        let failed =
            |error: MigrateError| StoreError::Open { path: location.to_string(), source: error.into() };
        migrated.map_err(failed)?;
        if let StoreLocation::Postgres(url) = location {
            store.bell.hang(url.clone(), bell::Patience::default());
        }
        Ok(store)
    }

    /// Opens what is there and changes nothing; refused when another version of this program has made its tables.
    pub async fn open_as_it_is(location: &StoreLocation) -> Result<Self> {
        let path = || location.to_string();
        if let StoreLocation::Sqlite(file) = location
            && !file.exists()
        {
            return Err(StoreError::NoTables { path: path() });
        }
        let store = Self::connect(location).await?;
        let found = sql("tell its version", "SELECT max(version) AS version FROM _sqlx_migrations")
            .one(&store.database, |row| row.number_optional::<i64>("version"))
            .await;
        let known = match &store.database {
            Database::Sqlite(_) => &sqlite::MIGRATIONS,
            Database::Postgres(_) => &postgres::MIGRATIONS,
        };
        let newest = known.iter().map(|migration| migration.version).max();
        match found {
            Ok(found) if found.flatten() == newest => Ok(store),
            Ok(_) => Err(StoreError::OtherTables { path: path() }),
            Err(StoreError::Database { .. }) => Err(StoreError::NoTables { path: path() }),
            Err(error) => Err(error),
        }
    }

    async fn connect(location: &StoreLocation) -> Result<Self> {
        let connected = match location {
            StoreLocation::Sqlite(path) => sqlite::open(path).await.map(Database::Sqlite),
            StoreLocation::Postgres(url) => postgres::open(url).await.map(Database::Postgres),
        };
        let path = location.to_string();
        let database = connected.map_err(|error| match database::is_away(&error) {
            true => StoreError::OpenAway { path, source: error },
            false => StoreError::Open { path, source: error.into() },
        })?;
        Ok(Self { database, bell: Bell::default() })
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn close(&self) {
        self.bell.silence();
        self.database.close().await;
    }

    async fn setting(&self, key: &str) -> Result<Option<String>> {
        settings::get(&self.database, key).await
    }

    async fn settle(&self, key: &str, value: &str) -> Result<String> {
        settings::settle(&self.database, key, value).await
    }

    async fn create_customer(&self, customer: &CustomerRecord) -> Result<()> {
        customers::create(&self.database, customer).await
    }

    async fn customers(&self) -> Result<Vec<CustomerRecord>> {
        customers::list(&self.database).await
    }

    async fn customer(&self, id: CustomerId) -> Result<Option<CustomerRecord>> {
        customers::get(&self.database, id).await
    }

    async fn delete_customer(&self, id: CustomerId, now_s: u64) -> Result<()> {
        customers::delete(&self.database, id, now_s).await
    }

    async fn create_group(&self, group: &GroupRecord) -> Result<()> {
        groups::create(&self.database, group).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>> {
        groups::list(&self.database).await
    }

    async fn group(&self, id: GroupId) -> Result<Option<GroupRecord>> {
        groups::get(&self.database, id).await
    }

    async fn delete_group(&self, id: GroupId, now_s: u64) -> Result<Vec<AgentId>> {
        groups::delete(&self.database, id, now_s).await
    }

    async fn claim_founder(&self, group: GroupId, agent: AgentId) -> Result<bool> {
        groups::claim_founder(&self.database, group, agent).await
    }

    async fn mark_founded(&self, group: GroupId) -> Result<()> {
        groups::mark_founded(&self.database, group).await
    }

    async fn enrol(
        &self,
        agent: &NewAgent,
        token: TokenId,
        now_s: u64,
    ) -> Result<Result<Enrolled, EnrolRefusal>> {
        enrol::enrol(&self.database, agent, token, now_s).await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<AgentRecord>> {
        agents::get(&self.database, id).await
    }

    async fn agents(&self, group: Option<GroupId>) -> Result<Vec<AgentRecord>> {
        agents::list(&self.database, group).await
    }

    async fn renew_agent(&self, id: AgentId, serial: &str, not_after_s: u64) -> Result<bool> {
        agents::renew(&self.database, id, serial, not_after_s).await
    }

    async fn set_peer_address(&self, id: AgentId, peer_address: &str) -> Result<()> {
        agents::set_peer_address(&self.database, id, peer_address).await
    }

    async fn set_version(&self, id: AgentId, version: &str) -> Result<()> {
        agents::set_version(&self.database, id, version).await
    }

    async fn revoke_agent(&self, id: AgentId, now_s: u64) -> Result<bool> {
        agents::revoke(&self.database, id, now_s).await
    }

    async fn revocations(&self, after: u64) -> Result<Vec<Revocation>> {
        agents::revocations(&self.database, after).await
    }

    async fn create_token(&self, token: &TokenRecord) -> Result<()> {
        tokens::create(&self.database, token).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>> {
        tokens::get(&self.database, id).await
    }

    async fn tokens(&self, group: Option<GroupId>) -> Result<Vec<TokenRecord>> {
        tokens::list(&self.database, group).await
    }

    async fn rotate_tokens(&self, group: GroupId) -> Result<u32> {
        tokens::rotate(&self.database, group).await
    }

    async fn revoke_token(&self, id: TokenId, now_s: u64) -> Result<bool> {
        tokens::revoke(&self.database, id, now_s).await
    }

    async fn listeners(&self) -> Result<Vec<ListenerRecord>> {
        listeners::list(&self.database).await
    }

    async fn keep_listener(&self, listener: &ListenerRecord) -> Result<ListenerRecord> {
        listeners::keep(&self.database, listener).await
    }

    async fn delete_listener(&self, group: GroupId, resource: &Name) -> Result<Option<ListenAt>> {
        listeners::delete(&self.database, group, resource).await
    }

    async fn create_user(&self, user: &UserRecord) -> Result<()> {
        users::create(&self.database, user).await
    }

    async fn replace_user(&self, user: &UserRecord) -> Result<()> {
        users::replace(&self.database, user).await
    }

    async fn users(&self) -> Result<Vec<UserRecord>> {
        users::list(&self.database).await
    }

    async fn user_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<UserRecord>> {
        users::by_token(&self.database, token_hash).await
    }

    async fn delete_user(&self, id: UserId) -> Result<()> {
        users::delete(&self.database, id).await
    }

    async fn news(&self) -> Result<u64> {
        gateways::news(&self.database).await
    }

    fn bell(&self) -> watch::Receiver<u64> {
        self.bell.rings()
    }

    fn is_shared(&self) -> bool {
        !self.database.is_sqlite()
    }

    async fn beat(&self, gateway: &GatewayRecord) -> Result<()> {
        gateways::beat(&self.database, gateway).await
    }

    async fn leave(&self, gateway: GatewayId) -> Result<()> {
        gateways::leave(&self.database, gateway).await
    }

    async fn gateways(&self) -> Result<Vec<GatewayRecord>> {
        gateways::list(&self.database).await
    }

    async fn add_audit(&self, entry: &AuditRecord) -> Result<()> {
        audit::add(&self.database, entry).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>> {
        audit::list(&self.database, limit).await
    }
}
