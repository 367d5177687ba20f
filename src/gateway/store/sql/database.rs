//! The two databases behind one face, and how long anybody waits for them.

use std::{io, time::Duration};

use sqlx::{AssertSqlSafe, Either, PgPool, Postgres, Sqlite, SqlitePool, pool::PoolConnection};
use tokio::time::timeout;

use super::{row::Row, statement::Statement};
use crate::store::{Result, StoreError};

/// A connection must be had within this time.
pub(super) const LEND_WITHIN: Duration = Duration::from_secs(4);
/// A statement is given up by the server after this, where it can be told.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(5);
/// And by us after this: nothing can be told to a server that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// The same for statements that read or write a whole store.
const WHOLE_WITHIN: Duration = Duration::from_secs(600);

/// Writers of one database come one after the other, as they do in SQLite: so whatever a change has read still holds when
/// it commits, and numbers rise in the order of their commits. A number of our own choosing.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(7022364301)";
const WHOLE_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What PostgreSQL says beside connection exceptions: too many connections, a server that starts, stops or stands by, a
/// statement, a lock or a transaction that took too long.
const AWAY: [&str; 8] = ["53300", "57P01", "57P02", "57P03", "25006", "57014", "55P03", "25P03"];

#[derive(Debug, Clone)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Either pool's connection.
type Connection = Either<PoolConnection<Sqlite>, PoolConnection<Postgres>>;

/// A connection that a pool has lent. It goes back only when nothing is under way on it; otherwise, and so too when
/// whoever waited for an answer has given up, it is closed, which ends on the server what was begun.
#[derive(Debug)]
pub(super) struct Lent {
    connection: Option<Connection>,
    under_way: bool,
    in_transaction: bool,
    patience: Duration,
}

/// A transaction; undone unless [`Work::commit`] succeeds.
#[derive(Debug)]
pub(super) struct Work {
    lent: Lent,
    act: &'static str,
}

impl Database {
    pub(super) async fn lend(&self, act: &'static str) -> Result<Lent> {
        let lent = match self {
            Self::Sqlite(pool) => pool.acquire().await.map(Either::Left),
            Self::Postgres(pool) => pool.acquire().await.map(Either::Right),
        };
        let connection = Some(lent.map_err(|error| failed(act, error))?);
        Ok(Lent { connection, under_way: false, in_transaction: false, patience: ANSWER_WITHIN })
    }

    /// Begins a transaction that will write. Taking the write lock at once lets it wait for others, where one that read
    /// first would have to be tried again.
    pub(super) async fn begin(&self, act: &'static str) -> Result<Work> {
        let begin = match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => WRITE,
        };
        Work::begin(self.lend(act).await?, act, begin).await
    }

    /// Begins to read everything as it is at one moment.
    pub(super) async fn begin_whole_read(&self, act: &'static str) -> Result<Work> {
        let begin = match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => WHOLE_READ,
        };
        let mut work = Work::begin(self.lend(act).await?, act, begin).await?;
        work.be_patient().await?;
        Ok(work)
    }

    /// As [`Self::begin`], to write all that a store holds: rows may come before those that they refer to.
    pub(super) async fn begin_whole_write(&self, act: &'static str) -> Result<Work> {
        let mut work = self.begin(act).await?;
        work.be_patient().await?;
        let defer = match self {
            Self::Sqlite(_) => "PRAGMA defer_foreign_keys = ON",
            Self::Postgres(_) => "SET CONSTRAINTS ALL DEFERRED",
        };
        work.lent.command(act, defer).await?;
        Ok(work)
    }

    /// Seconds since the epoch by the database's own clock: gateways' may differ.
    pub(super) const fn clock(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "unixepoch()",
            Self::Postgres(_) => "CAST(extract(epoch FROM now()) AS BIGINT)",
        }
    }

    pub(super) const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Work {
    async fn begin(mut lent: Lent, act: &'static str, begin: &'static str) -> Result<Self> {
        lent.in_transaction = true;
        lent.command(act, begin).await?;
        Ok(Self { lent, act })
    }

    pub(super) async fn commit(self) -> Result<()> {
        self.end("COMMIT").await
    }

    pub(super) async fn undo(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    pub(super) const fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }

    async fn end(mut self, end: &'static str) -> Result<()> {
        self.lent.command(self.act, end).await?;
        self.lent.in_transaction = false;
        Ok(())
    }

    async fn be_patient(&mut self) -> Result<()> {
        self.lent.patience = WHOLE_WITHIN;
        if matches!(self.lent.connection, Some(Either::Right(_))) {
            let patience = format!("SET LOCAL statement_timeout = {}", WHOLE_WITHIN.as_millis());
            self.lent.command(self.act, &patience).await?;
        }
        Ok(())
    }
}

impl Lent {
    /// How many rows it touched.
    pub(super) async fn execute(&mut self, statement: &Statement) -> Result<u64> {
        let (act, patience) = (statement.act(), self.patience);
        let done = match self.begin_one(act)? {
            Either::Left(on) => {
                within(patience, statement.query().execute(&mut **on)).await.map(|done| done.rows_affected())
            }
            Either::Right(on) => {
                within(patience, statement.query().execute(&mut **on)).await.map(|done| done.rows_affected())
            }
        };
        self.end_one(act, done)
    }

    pub(super) async fn rows(&mut self, statement: &Statement) -> Result<Vec<Row>> {
        let (act, patience) = (statement.act(), self.patience);
        let done = match self.begin_one(act)? {
            Either::Left(on) => within(patience, statement.query().fetch_all(&mut **on))
                .await
                .map(|rows| rows.into_iter().map(Row::from).collect()),
            Either::Right(on) => within(patience, statement.query().fetch_all(&mut **on))
                .await
                .map(|rows| rows.into_iter().map(Row::from).collect()),
        };
        self.end_one(act, done)
    }

    /// What is not to be prepared, and has no values.
    async fn command(&mut self, act: &'static str, text: &str) -> Result<()> {
        let (patience, command) = (self.patience, sqlx::raw_sql(AssertSqlSafe(text)));
        let done = match self.begin_one(act)? {
            Either::Left(on) => within(patience, command.execute(&mut **on)).await.map(drop),
            Either::Right(on) => within(patience, command.execute(&mut **on)).await.map(drop),
        };
        self.end_one(act, done)
    }

    fn begin_one(&mut self, act: &'static str) -> Result<&mut Connection> {
        self.under_way = true;
        self.connection.as_mut().ok_or_else(|| failed(act, sqlx::Error::PoolClosed))
    }

    fn end_one<T>(&mut self, act: &'static str, done: sqlx::Result<T>) -> Result<T> {
        // An answer, also one that says no, leaves the connection as good as before.
        self.under_way = !matches!(done, Ok(_) | Err(sqlx::Error::Database(_)));
        done.map_err(|error| failed(act, error))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.under_way || self.in_transaction {
            match self.connection.take() {
                Some(Either::Left(connection)) => drop(connection.detach()),
                Some(Either::Right(connection)) => drop(connection.detach()),
                None => {}
            }
        }
    }
}

async fn within<T>(patience: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let silent = |_| {
        let told = format!("no answer within {} s", patience.as_secs());
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, told))
    };
    timeout(patience, answer).await.map_err(silent)?
}

/// What came of a statement that was to do `act`: a database that is not there is told from one that says no.
pub(super) fn failed(act: &'static str, source: sqlx::Error) -> StoreError {
    match source {
        sqlx::Error::PoolTimedOut => {
            let told = format!("no connection within {} s", LEND_WITHIN.as_secs());
            StoreError::Away { act, source: io::Error::new(io::ErrorKind::TimedOut, told).into() }
        }
        source if is_away(&source) => StoreError::Away { act, source: source.into() },
        source => StoreError::Database { act, source },
    }
}

pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("08") || AWAY.contains(&&*code))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_there_is_told_from_one_that_says_no() {
        let of = |error| failed("list groups", error);
        assert!(matches!(of(sqlx::Error::PoolTimedOut), StoreError::Away { .. }));
        assert!(matches!(of(sqlx::Error::Io(io::ErrorKind::BrokenPipe.into())), StoreError::Away { .. }));
        assert!(matches!(of(sqlx::Error::RowNotFound), StoreError::Database { .. }));
    }
}
