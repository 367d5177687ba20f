//! Rows of either database, read as what their columns mean.

use std::{fmt, str::FromStr};

use sqlx::{Decode, Postgres, Row as _, Sqlite, Type, postgres::PgRow, sqlite::SqliteRow};

use super::database::failed;
use crate::store::{Result, StoreError};

pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn text(&self, column: &'static str) -> Result<String> {
        self.get(column)
    }

    pub(super) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| StoreError::Corrupt { what: column, found: text })
    }

    pub(super) fn parse_optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| StoreError::Corrupt { what: column, found: text })
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let number: i64 = self.get(column)?;
        number.try_into().map_err(|_| StoreError::Corrupt { what: column, found: number.to_string() })
    }

    pub(super) fn number_optional<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(number) = self.get::<Option<i64>>(column)? else { return Ok(None) };
        let corrupt = |_| StoreError::Corrupt { what: column, found: number.to_string() };
        number.try_into().map(Some).map_err(corrupt)
    }

    pub(super) fn hash(&self, column: &'static str) -> Result<[u8; 32]> {
        let bytes: Vec<u8> = self.get(column)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| StoreError::Corrupt { what: column, found: format!("{length} bytes") })
    }

    pub(super) fn get<T>(&self, column: &'static str) -> Result<T>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| failed("read a row", error))
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row(…)")
    }
}

/// Tells of a name that is in use already as such.
pub(super) fn taken(error: StoreError, what: &'static str, name: impl fmt::Display) -> StoreError {
    match &error {
        StoreError::Database { source: sqlx::Error::Database(refused), .. }
            if refused.is_unique_violation() =>
        {
            StoreError::Taken { what, name: name.to_string() }
        }
        _ => error,
    }
}

pub(super) fn unknown(what: &'static str, name: impl fmt::Display) -> StoreError {
    StoreError::Unknown { what, name: name.to_string() }
}
