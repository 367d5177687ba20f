//! One file: the default, for one gateway.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use warren_identity::keyfile;

use super::database::LEND_WITHIN;

/// SQLite writes one at a time whatever we do; a few more connections let readers go on meanwhile.
const CONNECTIONS_MAX: u32 = 4;
const BUSY_MAX: Duration = Duration::from_secs(5);

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Opens the file, or makes it, with mode 0600. Every committed change is on disk before the call returns.
pub(super) async fn open(path: &Path) -> sqlx::Result<SqlitePool> {
    // SQLite gives its side files the mode of the main one, so that is made first and private.
    keyfile::create_private(path, b"").map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_MAX);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(LEND_WITHIN * 2);
    pool.connect_with(options).await
}
