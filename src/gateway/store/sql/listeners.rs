use warren_core::id::{GroupId, Name};

use super::{
    database::Database,
    gateways,
    row::{Row, taken, unknown},
    statement::sql,
};
use crate::store::{ListenAt, ListenerRecord, Result};

pub(super) async fn list(on: &Database) -> Result<Vec<ListenerRecord>> {
    sql("list listeners", "SELECT group_id, resource, address FROM listeners ORDER BY group_id, resource")
        .all(on, read)
        .await
}

pub(super) async fn keep(on: &Database, listener: &ListenerRecord) -> Result<ListenerRecord> {
    let act = "keep a listener";
    let mut work = on.begin(act).await?;
    let kept = sql(
        act,
        "INSERT INTO listeners (group_id, resource, address) VALUES ($1, $2, $3) \
         ON CONFLICT (group_id, resource) DO NOTHING",
    )
    .bind(listener.group.to_string())
    .bind(listener.resource.as_str())
    .bind(listener.at.to_string())
    .execute(&mut work)
    .await
    .map_err(|error| taken(error, "listener", listener.at))?;
    if kept > 0 {
        gateways::publish(on, work, act).await?;
        return Ok(listener.clone());
    }
    let before = sql(act, "SELECT * FROM listeners WHERE group_id = $1 AND resource = $2")
        .bind(listener.group.to_string())
        .bind(listener.resource.as_str())
        .one(&mut work, read)
        .await?;
    work.undo().await?;
    before.ok_or_else(|| unknown("listener", listener.at))
}

pub(super) async fn delete(on: &Database, group: GroupId, resource: &Name) -> Result<Option<ListenAt>> {
    let act = "delete a listener";
    let mut work = on.begin(act).await?;
    let had = sql(act, "DELETE FROM listeners WHERE group_id = $1 AND resource = $2 RETURNING address")
        .bind(group.to_string())
        .bind(resource.as_str())
        .one(&mut work, |row| row.parse("address"))
        .await?;
    match had {
        Some(_) => gateways::publish(on, work, act).await?,
        None => work.undo().await?,
    }
    Ok(had)
}

fn read(row: &Row) -> Result<ListenerRecord> {
    Ok(ListenerRecord {
        group: row.parse("group_id")?,
        resource: row.parse("resource")?,
        at: row.parse("address")?,
    })
}
