//! All that a store holds, as one text: out of one store, into another, of whichever kind.
//!
//! ```text
//! {"format":"warren-store","version":1,"program":"0.1.0","made_s":1800000000}
//! {"table":"settings","row":{"key":"authority","value":"…"}}
//! …
//! {"end":{"rows":57}}
//! ```
//! Secrets stay sealed under the operator key, of tokens there are only hashes. What gateways say of themselves from one
//! moment to the next is left out.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::{
    SqlStore,
    database::Work,
    row::Row,
    statement::{Statement, Value, sql},
};
use crate::store::{Result, StoreError};

const FORMAT: &str = "warren-store";
const VERSION: u32 = 1;

/// Rows of each table.
pub type Counts = BTreeMap<&'static str, usize>;

/// Why a text is not that of a store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WholeError {
    #[error("is not a store's export: its first line is not one of an export")]
    NotOne,
    #[error("is of version {found}, this program reads {VERSION}")]
    Version { found: u32 },
    #[error("is cut short: its last line is missing")]
    CutShort,
    #[error("has {found} rows, and says that it had {told}")]
    Count { told: usize, found: usize },
    #[error("line {line} cannot be understood: {why}")]
    Line { line: usize, why: String },
}

/// What a store held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    rows: Vec<(&'static Table, Vec<Value>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Table {
    name: &'static str,
    order: &'static str,
    columns: &'static [(&'static str, Kind)],
    /// Its `number` is given by the database.
    numbered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bytes,
}

use Kind::{Bytes, Number, Text};

const fn table(name: &'static str, order: &'static str, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, order, columns, numbered: false }
}

const fn numbered(name: &'static str, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, order: "number", columns, numbered: true }
}

static TABLES: [Table; 9] = [
    table("settings", "key", &[("key", Text), ("value", Text)]),
    table("customers", "id", &[("id", Text), ("name", Text), ("created_s", Number), ("deleted_s", Number)]),
    table(
        "groups",
        "id",
        &[
            ("id", Text),
            ("name", Text),
            ("customer", Text),
            ("created_s", Number),
            ("deleted_s", Number),
            ("generation", Number),
            ("founder", Text),
            ("founded", Number),
        ],
    ),
    table(
        "tokens",
        "id",
        &[
            ("id", Text),
            ("group_id", Text),
            ("customer", Text),
            ("created_s", Number),
            ("expires_s", Number),
            ("max_uses", Number),
            ("uses", Number),
            ("generation", Number),
            ("revoked_s", Number),
        ],
    ),
    table(
        "agents",
        "id",
        &[
            ("id", Text),
            ("group_id", Text),
            ("name", Text),
            ("token", Text),
            ("key_hash", Bytes),
            ("serial", Text),
            ("not_after_s", Number),
            ("peer_address", Text),
            ("version", Text),
            ("enrolled_s", Number),
            ("revoked_s", Number),
        ],
    ),
    numbered("revocations", &[("number", Number), ("agent", Text), ("at_s", Number)]),
    table("listeners", "group_id, resource", &[("group_id", Text), ("resource", Text), ("address", Text)]),
    table(
        "users",
        "id",
        &[("id", Text), ("name", Text), ("role", Text), ("token_hash", Bytes), ("created_s", Number)],
    ),
    numbered(
        "audit",
        &[
            ("number", Number),
            ("at_ms", Number),
            ("who", Text),
            ("action", Text),
            ("subject", Text),
            ("outcome", Text),
        ],
    ),
];

/// Tables of gateways' passing state.
#[cfg(test)]
const LEFT_OUT: [&str; 2] = ["news", "gateways"];

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Head { format: String, version: u32, program: String, made_s: u64 },
    Row { table: String, row: Map<String, Json> },
    End { end: End },
}

#[derive(Serialize, Deserialize)]
struct End {
    rows: usize,
}

impl SqlStore {
    /// Reads all of it as it is at one moment; whoever writes goes on meanwhile.
    pub async fn export(&self) -> Result<Whole> {
        let act = "be exported";
        let mut work = self.database.begin_whole_read(act).await?;
        let mut rows = Vec::new();
        for table in &TABLES {
            let found = table.select(act).all(&mut work, |row| table.read(row)).await?;
            rows.extend(found.into_iter().map(|row| (table, row)));
        }
        work.undo().await?;
        Ok(Whole { rows })
    }

    /// Writes all of it, or nothing. Refused when the store holds anything already.
    pub async fn import(&self, whole: &Whole) -> Result<()> {
        let act = "be imported into";
        let mut work = self.database.begin_whole_write(act).await?;
        for table in &TABLES {
            let first = sql(act, format!("SELECT 1 AS one FROM {} LIMIT 1", table.name));
            if first.row(&mut work).await?.is_some() {
                work.undo().await?;
                return Err(StoreError::NotEmpty { what: table.name });
            }
        }
        for (table, row) in &whole.rows {
            let insert = row.iter().fold(table.insert(act), |insert, value| insert.bind(value.clone()));
            insert.execute(&mut work).await?;
        }
        sql(act, "UPDATE news SET number = number + 1").execute(&mut work).await?;
        for table in TABLES.iter().filter(|table| table.numbered && !self.database.is_sqlite()) {
            count_on(&mut work, act, table.name).await?;
        }
        work.commit().await
    }
}

/// SQLite goes on counting from the highest number that it has seen, PostgreSQL from where it stopped itself.
async fn count_on(work: &mut Work, act: &'static str, table: &str) -> Result<()> {
    let text = format!(
        "SELECT setval(pg_get_serial_sequence('{table}', 'number'), \
         (SELECT coalesce(max(number), 0) + 1 FROM {table}), false)"
    );
    sql(act, text).row(work).await.map(drop)
}

impl Table {
    fn select(&self, act: &'static str) -> Statement {
        sql(act, format!("SELECT {} FROM {} ORDER BY {}", self.names(), self.name, self.order))
    }

    fn insert(&self, act: &'static str) -> Statement {
        let places: Vec<String> = (1..=self.columns.len()).map(|place| format!("${place}")).collect();
        sql(act, format!("INSERT INTO {} ({}) VALUES ({})", self.name, self.names(), places.join(", ")))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    fn read(&self, row: &Row) -> Result<Vec<Value>> {
        let value = |&(name, kind): &(&'static str, Kind)| {
            Ok(match kind {
                Text => Value::Text(row.get(name)?),
                Number => Value::Number(row.get(name)?),
                Bytes => Value::Bytes(row.get(name)?),
            })
        };
        self.columns.iter().map(value).collect()
    }

    fn write(&self, row: &[Value]) -> Map<String, Json> {
        let cell = |value: &Value| match value {
            Value::Text(text) => Json::from(text.clone()),
            Value::Number(number) => Json::from(*number),
            Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
        };
        self.columns.iter().zip(row).map(|((name, _), value)| ((*name).to_owned(), cell(value))).collect()
    }

    fn parse(&self, mut row: Map<String, Json>) -> Result<Vec<Value>, String> {
        let value = |(name, kind): &(&'static str, Kind)| {
            let wrong = || format!("`{name}` of {} is not what it should be", self.name);
            let cell = row.remove(*name).ok_or_else(|| format!("{} has no `{name}`", self.name))?;
            Ok(match (kind, cell) {
                (Text, Json::Null) => Value::Text(None),
                (Text, Json::String(text)) => Value::Text(Some(text)),
                (Number, Json::Null) => Value::Number(None),
                (Number, Json::Number(number)) => Value::Number(Some(number.as_i64().ok_or_else(wrong)?)),
                (Bytes, Json::String(text)) => Value::Bytes(STANDARD.decode(text).map_err(|_| wrong())?),
                _ => return Err(wrong()),
            })
        };
        let values = self.columns.iter().map(value).collect::<Result<_, String>>()?;
        match row.keys().next() {
            Some(more) => Err(format!("{} has a `{more}` that this program does not know", self.name)),
            None => Ok(values),
        }
    }
}

impl Whole {
    pub fn counts(&self) -> Counts {
        let mut counts: Counts = TABLES.iter().map(|table| (table.name, 0)).collect();
        for (table, _) in &self.rows {
            *counts.entry(table.name).or_default() += 1;
        }
        counts
    }

    /// The text, made at `now_s`.
    pub fn to_text(&self, now_s: u64) -> String {
        let head = Line::Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            made_s: now_s,
        };
        let rows = self
            .rows
            .iter()
            .map(|(table, row)| Line::Row { table: table.name.to_owned(), row: table.write(row) });
        let end = Line::End { end: End { rows: self.rows.len() } };
        let lines = std::iter::once(head).chain(rows).chain([end]);
        lines.map(|line| serde_json::to_string(&line).unwrap_or_default() + "\n").collect()
    }

    /// Reads and checks all of it before anything is done with it.
    pub fn from_text(text: &str) -> Result<Self, WholeError> {
        let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
        let head = lines.next().and_then(|(_, line)| serde_json::from_str(line).ok());
        match head {
            Some(Line::Head { format, version: VERSION, .. }) if format == FORMAT => {}
            Some(Line::Head { format, version, .. }) if format == FORMAT => {
                return Err(WholeError::Version { found: version });
            }
            _ => return Err(WholeError::NotOne),
        }
        let mut rows = Vec::new();
        for (line, text) in lines {
            let wrong = |why: String| WholeError::Line { line, why };
            match serde_json::from_str(text).map_err(|error| wrong(error.to_string()))? {
                Line::Row { table, row } => {
                    let known = TABLES.iter().find(|known| known.name == table);
                    let table = known.ok_or_else(|| wrong(format!("there is no table `{table}`")))?;
                    rows.push((table, table.parse(row).map_err(wrong)?));
                }
                Line::End { end } if end.rows == rows.len() => return Ok(Self { rows }),
                Line::End { end } => {
                    return Err(WholeError::Count { told: end.rows, found: rows.len() });
                }
                Line::Head { .. } => return Err(wrong("a second beginning".to_owned())),
            }
        }
        Err(WholeError::CutShort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, &str)]) -> Whole {
        let text = |text: &&str| Value::Text(Some((*text).to_owned()));
        let rows = rows.iter().map(|(key, value)| (&TABLES[0], vec![text(key), text(value)]));
        Whole { rows: rows.collect() }
    }

    #[test]
    fn a_text_reads_back() {
        let whole = of(&[("a", "1"), ("b", "two\nlines")]);
        assert_eq!(Whole::from_text(&whole.to_text(7)).unwrap(), whole);
        assert_eq!(whole.counts()["settings"], 2);
        assert_eq!(whole.counts()["agents"], 0);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let text = of(&[("a", "1"), ("b", "2")]).to_text(7);
        let lines: Vec<&str> = text.lines().collect();
        let read = |lines: &[&str]| Whole::from_text(&lines.join("\n")).unwrap_err();
        assert_eq!(read(&lines[..3]), WholeError::CutShort);
        assert_eq!(read(&[lines[0], lines[1], lines[3]]), WholeError::Count { told: 2, found: 1 });
        assert_eq!(read(&lines[1..]), WholeError::NotOne);
        assert_eq!(Whole::from_text("").unwrap_err(), WholeError::NotOne);
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        assert_eq!(Whole::from_text(&newer).unwrap_err(), WholeError::Version { found: 2 });
        for (from, to) in
            [("\"value\":\"1\"", "\"value\":1"), ("\"key\"", "\"kez\""), ("settings", "setting")]
        {
            let error = Whole::from_text(&text.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, WholeError::Line { line: 2, .. }), "{error}");
        }
    }

    /// A column that is added to a table and forgotten here would be lost on the way.
    #[tokio::test]
    async fn every_column_of_every_table_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let location = crate::config::StoreLocation::Sqlite(folder.path().join("t.db"));
        let store = SqlStore::open(&location).await.unwrap();
        let listed = sql(
            "list columns",
            "SELECT m.name || '.' || c.name AS column_name FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '_sqlx_%'",
        );
        let mut found = listed.all(&store.database, |row| row.text("column_name")).await.unwrap();
        found.retain(|column| !LEFT_OUT.iter().any(|table| column.starts_with(&format!("{table}."))));
        found.sort();
        let known = |table: &Table| {
            let name = table.name;
            table.columns.iter().map(move |(column, _)| format!("{name}.{column}")).collect::<Vec<_>>()
        };
        let mut known: Vec<String> = TABLES.iter().flat_map(known).collect();
        known.sort();
        assert_eq!(found, known);
    }
}
