//! A database that several gateways may share.

use std::{io, str::FromStr, time::Duration};

use sqlx::{
    Connection, Executor, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::time::timeout;
use tracing::warn;

use super::database::{LEND_WITHIN, STATEMENT_MAX};
use crate::config::{PostgresUrl, Secret};

/// Few statements are under way at once; a server's connections are dear.
const CONNECTIONS_MAX: u32 = 8;
/// The first connection, name lookup and TLS included, must be there within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const IDLE_MAX: Duration = Duration::from_secs(300);
const LIFE_MAX: Duration = Duration::from_secs(1_800);

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

pub(super) async fn open(url: &PostgresUrl) -> sqlx::Result<PgPool> {
    let options = options(url)?;
    if matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::Prefer) && url.is_remote() {
        warn!(store = %url, "store's server is not verified: sslmode=verify-full does that");
    }
    // A pool would only say that it timed out.
    let first = timeout(CONNECT_WITHIN, PgConnection::connect_with(&options)).await;
    let silent = |_| {
        let told = format!("no connection within {} s", CONNECT_WITHIN.as_secs());
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, told))
    };
    first.map_err(silent)??.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(LEND_WITHIN)
        .idle_timeout(IDLE_MAX)
        .max_lifetime(LIFE_MAX)
        // The lock of a gateway that stands still in the middle of a change must not hold up the others.
        .after_connect(|connection, _| {
            Box::pin(async move {
                let limit = STATEMENT_MAX.as_millis();
                let limits = format!(
                    "SET statement_timeout = {limit}; SET lock_timeout = {limit}; \
                     SET idle_in_transaction_session_timeout = {}",
                    2 * limit
                );
                connection.execute(sqlx::AssertSqlSafe(limits)).await.map(drop)
            })
        });
    pool.connect_with(options).await
}

/// For one who listens, and keeps it for as long as it holds.
pub(super) fn lone_connection(url: &PostgresUrl) -> sqlx::Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(LEND_WITHIN);
    Ok(pool.idle_timeout(None).max_lifetime(None).connect_lazy_with(options(url)?))
}

fn options(url: &PostgresUrl) -> sqlx::Result<PgConnectOptions> {
    let wrong = |why: String| sqlx::Error::Configuration(why.into());
    let secret = url.secret().map_err(|error| wrong(format!("cannot read the store's password: {error}")))?;
    let text = match &secret {
        Secret::Encoded(password) => url.with_login(password),
        Secret::Text(_) | Secret::None => url.shown().to_owned(),
    };
    // Its complaint may quote what it was given.
    let parsed = PgConnectOptions::from_str(&text);
    let parsed = parsed.map_err(|_| wrong("its URL is not one of PostgreSQL's".to_owned()))?;
    let mut options = match secret {
        Secret::Text(password) => parsed.password(&password),
        Secret::Encoded(_) | Secret::None => parsed,
    };
    if options.get_application_name().is_none() {
        options = options.application_name("warren-gateway");
    }
    if url.needs_tls() {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    Ok(options)
}
