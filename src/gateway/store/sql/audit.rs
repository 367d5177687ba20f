use super::{database::Database, row::Row, statement::sql};
use crate::store::{AUDIT_MAX, AuditRecord, Result};

const ACT: &str = "write audit";

pub(super) async fn add(on: &Database, entry: &AuditRecord) -> Result<()> {
    let mut work = on.begin(ACT).await?;
    let added = sql(
        ACT,
        "INSERT INTO audit (at_ms, who, action, subject, outcome) VALUES ($1, $2, $3, $4, $5) RETURNING number",
    )
    .bind(entry.at_ms)
    .bind(entry.who.as_str())
    .bind(entry.action.as_str())
    .bind(entry.subject.as_str())
    .bind(entry.outcome.as_str())
    .one(&mut work, |row| row.number::<u64>("number"))
    .await?;
    sql(ACT, "DELETE FROM audit WHERE number <= $1")
        .bind(added.unwrap_or_default().saturating_sub(AUDIT_MAX.into()))
        .execute(&mut work)
        .await?;
    work.commit().await
}

pub(super) async fn list(on: &Database, limit: u32) -> Result<Vec<AuditRecord>> {
    sql("list audit", "SELECT at_ms, who, action, subject, outcome FROM audit ORDER BY number DESC LIMIT $1")
        .bind(limit)
        .all(on, read)
        .await
}

fn read(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        at_ms: row.number("at_ms")?,
        who: row.text("who")?,
        action: row.text("action")?,
        subject: row.text("subject")?,
        outcome: row.text("outcome")?,
    })
}
