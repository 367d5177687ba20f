use sqlx::{SqlitePool, sqlite::SqliteRow};

use super::rows::{Columns, begin, failed, int};
use crate::store::{AUDIT_MAX, AuditRecord, Result};

pub(super) async fn add(pool: &SqlitePool, entry: &AuditRecord) -> Result<()> {
    let act = "write audit";
    let mut transaction = begin(pool, act).await?;
    let added =
        sqlx::query("INSERT INTO audit (at_ms, who, action, subject, outcome) VALUES (?, ?, ?, ?, ?)")
            .bind(int(entry.at_ms))
            .bind(&entry.who)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.outcome)
            .execute(&mut *transaction)
            .await
            .map_err(failed(act))?;
    sqlx::query("DELETE FROM audit WHERE number <= ?")
        .bind(added.last_insert_rowid() - i64::from(AUDIT_MAX))
        .execute(&mut *transaction)
        .await
        .map_err(failed(act))?;
    transaction.commit().await.map_err(failed(act))
}

pub(super) async fn list(pool: &SqlitePool, limit: u32) -> Result<Vec<AuditRecord>> {
    let rows =
        sqlx::query("SELECT at_ms, who, action, subject, outcome FROM audit ORDER BY number DESC LIMIT ?")
            .bind(limit)
            .fetch_all(pool)
            .await
            .map_err(failed("list audit"))?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<AuditRecord> {
    let row = Columns(row);
    Ok(AuditRecord {
        at_ms: row.number("at_ms")?,
        who: row.text("who")?,
        action: row.text("action")?,
        subject: row.text("subject")?,
        outcome: row.text("outcome")?,
    })
}
