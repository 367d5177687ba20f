use std::net::SocketAddr;

use warren_core::id::{GroupId, Name};

use super::{
    database::Database,
    row::{Row, taken},
    statement::sql,
};
use crate::store::{ListenerRecord, Result};

pub(super) async fn list(on: &Database) -> Result<Vec<ListenerRecord>> {
    sql("list listeners", "SELECT group_id, resource, address FROM listeners ORDER BY group_id, resource")
        .all(on, read)
        .await
}

pub(super) async fn save(on: &Database, listener: &ListenerRecord) -> Result<()> {
    sql(
        "save a listener",
        "INSERT INTO listeners (group_id, resource, address) VALUES ($1, $2, $3) \
         ON CONFLICT (group_id, resource) DO UPDATE SET address = excluded.address",
    )
    .bind(listener.group.to_string())
    .bind(listener.resource.as_str())
    .bind(listener.address.to_string())
    .execute(on)
    .await
    .map(drop)
    .map_err(|error| taken(error, "listener", listener.address))
}

pub(super) async fn delete(on: &Database, group: GroupId, resource: &Name) -> Result<Option<SocketAddr>> {
    sql("delete a listener", "DELETE FROM listeners WHERE group_id = $1 AND resource = $2 RETURNING address")
        .bind(group.to_string())
        .bind(resource.as_str())
        .one(on, |row| row.parse("address"))
        .await
}

fn read(row: &Row) -> Result<ListenerRecord> {
    Ok(ListenerRecord {
        group: row.parse("group_id")?,
        resource: row.parse("resource")?,
        address: row.parse("address")?,
    })
}
