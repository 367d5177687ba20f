//! What gateways on one store tell each other through it.

use warren_core::id::GatewayId;

use super::{
    database::{Database, Work},
    row::Row,
    statement::sql,
};
use crate::store::{GatewayRecord, Result};

/// On which PostgreSQL tells of news.
pub(super) const CHANNEL: &str = "warren_news";
const FORGET_AFTER_S: u64 = 86_400;

/// Makes a change that gateways keep in memory known together with it.
pub(super) async fn publish(on: &Database, mut work: Work, act: &'static str) -> Result<()> {
    sql(act, "UPDATE news SET number = number + 1").execute(&mut work).await?;
    if !on.is_sqlite() {
        // Heard when the change is committed, and never otherwise.
        sql(act, "SELECT pg_notify($1, '') IS NULL AS told").bind(CHANNEL).rows(&mut work).await?;
    }
    work.commit().await
}

pub(super) async fn news(on: &Database) -> Result<u64> {
    let number = sql("tell the news", "SELECT number FROM news").one(on, |row| row.number("number")).await?;
    Ok(number.unwrap_or_default())
}

pub(super) async fn beat(on: &Database, gateway: &GatewayRecord) -> Result<()> {
    let act = "note that a gateway serves";
    let now = on.clock();
    let again = format!(
        "UPDATE gateways SET seen_s = {now} WHERE id = $1 AND url = $2 AND address = $3 AND version = $4 \
         AND seen_s >= {now} - $5"
    );
    let again = sql(act, again)
        .bind(gateway.id.to_string())
        .bind(gateway.url.as_str())
        .bind(gateway.address.as_str())
        .bind(gateway.version.as_str())
        .bind(GatewayRecord::SILENT_S_MAX)
        .execute(on)
        .await?;
    if again > 0 {
        return Ok(());
    }
    let mut work = on.begin(act).await?;
    let forget = format!("DELETE FROM gateways WHERE seen_s < {now} - $1");
    sql(act, forget).bind(FORGET_AFTER_S).execute(&mut work).await?;
    let put = format!(
        "INSERT INTO gateways (id, url, address, version, seen_s) VALUES ($1, $2, $3, $4, {now}) \
         ON CONFLICT (id) DO UPDATE SET url = excluded.url, address = excluded.address, \
         version = excluded.version, seen_s = excluded.seen_s"
    );
    sql(act, put)
        .bind(gateway.id.to_string())
        .bind(gateway.url.as_str())
        .bind(gateway.address.as_str())
        .bind(gateway.version.as_str())
        .execute(&mut work)
        .await?;
    publish(on, work, act).await
}

pub(super) async fn leave(on: &Database, gateway: GatewayId) -> Result<()> {
    let act = "note that a gateway has stopped";
    let mut work = on.begin(act).await?;
    let left =
        sql(act, "DELETE FROM gateways WHERE id = $1").bind(gateway.to_string()).execute(&mut work).await?;
    match left {
        0 => work.undo().await,
        _ => publish(on, work, act).await,
    }
}

pub(super) async fn list(on: &Database) -> Result<Vec<GatewayRecord>> {
    let now = on.clock();
    let text =
        format!("SELECT id, url, address, version, {now} - seen_s AS silent_s FROM gateways ORDER BY id");
    sql("list gateways", text).all(on, read).await
}

fn read(row: &Row) -> Result<GatewayRecord> {
    // Clocks are set back now and then.
    let silent_s: i64 = row.number("silent_s")?;
    Ok(GatewayRecord {
        id: row.parse("id")?,
        url: row.text("url")?,
        address: row.text("address")?,
        version: row.text("version")?,
        silent_s: silent_s.max(0).unsigned_abs(),
    })
}
