use std::net::SocketAddr;

use sqlx::{SqlitePool, sqlite::SqliteRow};
use warren_core::id::{GroupId, Name};

use super::rows::{Columns, failed, taken};
use crate::store::{ListenerRecord, Result};

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<ListenerRecord>> {
    let rows = sqlx::query("SELECT group_id, resource, address FROM listeners ORDER BY group_id, resource")
        .fetch_all(pool)
        .await
        .map_err(failed("list listeners"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn save(pool: &SqlitePool, listener: &ListenerRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO listeners (group_id, resource, address) VALUES (?, ?, ?) \
         ON CONFLICT (group_id, resource) DO UPDATE SET address = excluded.address",
    )
    .bind(listener.group.to_string())
    .bind(listener.resource.as_str())
    .bind(listener.address.to_string())
    .execute(pool)
    .await
    .map_err(taken("save a listener", "listener", listener.address))?;
    Ok(())
}

pub(super) async fn delete(pool: &SqlitePool, group: GroupId, resource: &Name) -> Result<Option<SocketAddr>> {
    let row = sqlx::query("DELETE FROM listeners WHERE group_id = ? AND resource = ? RETURNING address")
        .bind(group.to_string())
        .bind(resource.as_str())
        .fetch_optional(pool)
        .await
        .map_err(failed("delete a listener"))?;
    row.map(|row| Columns(&row).parse("address")).transpose()
}

fn read(row: &SqliteRow) -> Result<ListenerRecord> {
    let row = Columns(row);
    Ok(ListenerRecord {
        group: row.parse("group_id")?,
        resource: row.parse("resource")?,
        address: row.parse("address")?,
    })
}
