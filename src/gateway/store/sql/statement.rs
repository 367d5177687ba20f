//! One statement with its values, in words that both databases understand.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Database as Kind, Encode, Type, query::Query};

use super::{
    database::{Database, Work},
    row::Row,
};
use crate::store::Result;

/// Values stand as `$1`, `$2`, ... in its text; the same may stand there twice.
#[derive(Debug)]
pub(super) struct Statement {
    act: &'static str,
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// All that columns hold. Absent ones have a kind too, which PostgreSQL asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Vec<u8>),
}

/// Where a statement runs.
#[derive(Debug)]
pub(super) enum On<'a> {
    Database(&'a Database),
    Work(&'a mut Work),
}

/// A statement that does `act`, as errors will say. Its text is ours; what others say comes as values only.
pub(super) fn sql(act: &'static str, text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { act, text: text.into(), values: Vec::new() }
}

impl Statement {
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// How many rows it touched.
    pub(super) async fn execute(self, on: impl Into<On<'_>>) -> Result<u64> {
        match on.into() {
            On::Database(database) => database.lend(self.act).await?.execute(&self).await,
            On::Work(work) => work.lent().execute(&self).await,
        }
    }

    pub(super) async fn rows(self, on: impl Into<On<'_>>) -> Result<Vec<Row>> {
        match on.into() {
            On::Database(database) => database.lend(self.act).await?.rows(&self).await,
            On::Work(work) => work.lent().rows(&self).await,
        }
    }

    /// The one row that there can be.
    pub(super) async fn row(self, on: impl Into<On<'_>>) -> Result<Option<Row>> {
        Ok(self.rows(on).await?.pop())
    }

    pub(super) async fn all<T>(
        self,
        on: impl Into<On<'_>>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(on).await?.iter().map(read).collect()
    }

    pub(super) async fn one<T>(
        self,
        on: impl Into<On<'_>>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        self.row(on).await?.as_ref().map(read).transpose()
    }

    pub(super) const fn act(&self) -> &'static str {
        self.act
    }

    pub(super) fn query<K: Kind>(&self) -> Query<'static, K, K::Arguments>
    where
        Option<String>: for<'q> Encode<'q, K> + Type<K>,
        Option<i64>: for<'q> Encode<'q, K> + Type<K>,
        Vec<u8>: for<'q> Encode<'q, K> + Type<K>,
    {
        let query = sqlx::query(AssertSqlSafe(self.text.clone()));
        self.values.iter().cloned().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

impl<'a> From<&'a Database> for On<'a> {
    fn from(database: &'a Database) -> Self {
        Self::Database(database)
    }
}

impl<'a> From<&'a mut Work> for On<'a> {
    fn from(work: &'a mut Work) -> Self {
        Self::Work(work)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

/// Ours never come near the end of what a column can hold.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<Option<u32>> for Value {
    fn from(number: Option<u32>) -> Self {
        Self::Number(number.map(i64::from))
    }
}

impl From<&[u8; 32]> for Value {
    fn from(hash: &[u8; 32]) -> Self {
        Self::Bytes(hash.to_vec())
    }
}
