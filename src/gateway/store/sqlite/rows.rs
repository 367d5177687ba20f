//! Reading rows and telling what went wrong.

use std::{fmt, str::FromStr};

use sqlx::{Row, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};

use crate::store::{Result, StoreError};

/// Begins a transaction that will write. Taking the write lock at once lets it wait for others, where one that read
/// first would fail as busy.
pub(super) async fn begin(pool: &SqlitePool, act: &'static str) -> Result<Transaction<'static, Sqlite>> {
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(act))
}

/// The error of a statement that was to do `act`.
pub(super) fn failed(act: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { act, source }
}

/// As [`failed`], but a name that is in use already is told as such.
pub(super) fn taken(
    act: &'static str,
    what: &'static str,
    name: impl fmt::Display,
) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match source.as_database_error() {
        Some(error) if error.is_unique_violation() => StoreError::Taken { what, name: name.to_string() },
        _ => StoreError::Database { act, source },
    }
}

pub(super) fn unknown(what: &'static str, name: impl fmt::Display) -> StoreError {
    StoreError::Unknown { what, name: name.to_string() }
}

/// What SQLite can hold of a number; ours never come near the end of it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Columns of one row, read as what they mean.
pub(super) struct Columns<'r>(pub(super) &'r SqliteRow);

impl Columns<'_> {
    pub(super) fn text(&self, column: &'static str) -> Result<String> {
        self.0.try_get(column).map_err(failed("read a row"))
    }

    pub(super) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| StoreError::Corrupt { what: column, found: text })
    }

    pub(super) fn parse_optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>> {
        let text: Option<String> = self.0.try_get(column).map_err(failed("read a row"))?;
        let Some(text) = text else { return Ok(None) };
        text.parse().map(Some).map_err(|_| StoreError::Corrupt { what: column, found: text })
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let number: i64 = self.0.try_get(column).map_err(failed("read a row"))?;
        number.try_into().map_err(|_| StoreError::Corrupt { what: column, found: number.to_string() })
    }

    pub(super) fn number_optional<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        let number: Option<i64> = self.0.try_get(column).map_err(failed("read a row"))?;
        let Some(number) = number else { return Ok(None) };
        let found = || StoreError::Corrupt { what: column, found: number.to_string() };
        number.try_into().map(Some).map_err(|_| found())
    }

    pub(super) fn hash(&self, column: &'static str) -> Result<[u8; 32]> {
        let bytes: Vec<u8> = self.0.try_get(column).map_err(failed("read a row"))?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| StoreError::Corrupt { what: column, found: format!("{length} bytes") })
    }
}
