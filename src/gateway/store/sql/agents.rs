use warren_core::id::{AgentId, GroupId};

use super::{
    database::{Database, Work},
    gateways,
    row::{Row, unknown},
    statement::sql,
};
use crate::store::{AgentRecord, Result, Revocation};

pub(super) async fn get(on: &Database, id: AgentId) -> Result<Option<AgentRecord>> {
    sql("read an agent", "SELECT * FROM agents WHERE id = $1").bind(id.to_string()).one(on, read).await
}

pub(super) async fn list(on: &Database, group: Option<GroupId>) -> Result<Vec<AgentRecord>> {
    sql(
        "list agents",
        "SELECT a.* FROM agents a JOIN groups g ON g.id = a.group_id AND g.deleted_s IS NULL \
         WHERE $1 IS NULL OR a.group_id = $1 ORDER BY a.enrolled_s, a.id",
    )
    .bind(group.map(|group| group.to_string()))
    .all(on, read)
    .await
}

pub(super) async fn renew(on: &Database, id: AgentId, serial: &str, not_after_s: u64) -> Result<bool> {
    let renewed = sql(
        "record a certificate",
        "UPDATE agents SET serial = $1, not_after_s = $2 WHERE id = $3 AND revoked_s IS NULL",
    )
    .bind(serial)
    .bind(not_after_s)
    .bind(id.to_string())
    .execute(on)
    .await?;
    Ok(renewed > 0)
}

pub(super) async fn set_peer_address(on: &Database, id: AgentId, peer_address: &str) -> Result<()> {
    sql("record a peer address", "UPDATE agents SET peer_address = $2 WHERE id = $1 AND peer_address <> $2")
        .bind(id.to_string())
        .bind(peer_address)
        .execute(on)
        .await
        .map(drop)
}

pub(super) async fn set_version(on: &Database, id: AgentId, version: &str) -> Result<()> {
    sql("record an agent's version", "UPDATE agents SET version = $2 WHERE id = $1 AND version <> $2")
        .bind(id.to_string())
        .bind(version)
        .execute(on)
        .await
        .map(drop)
}

pub(super) async fn revoke(on: &Database, id: AgentId, now_s: u64) -> Result<bool> {
    let mut work = on.begin(REVOKE).await?;
    let revoked = revoke_on(&mut work, id, now_s).await?;
    let known =
        sql(REVOKE, "SELECT id FROM agents WHERE id = $1").bind(id.to_string()).row(&mut work).await?;
    match revoked {
        true => gateways::publish(on, work, REVOKE).await?,
        false => work.undo().await?,
    }
    known.map(|_| revoked).ok_or_else(|| unknown("agent", id))
}

const REVOKE: &str = "revoke an agent";

/// Part of a transaction: `false` when there was nothing to revoke.
pub(super) async fn revoke_on(work: &mut Work, id: AgentId, now_s: u64) -> Result<bool> {
    let revoked = sql(REVOKE, "UPDATE agents SET revoked_s = $1 WHERE id = $2 AND revoked_s IS NULL")
        .bind(now_s)
        .bind(id.to_string())
        .execute(&mut *work)
        .await?;
    if revoked == 0 {
        return Ok(false);
    }
    sql(REVOKE, "INSERT INTO revocations (agent, at_s) VALUES ($1, $2)")
        .bind(id.to_string())
        .bind(now_s)
        .execute(&mut *work)
        .await?;
    // A founder that never came to founding must not keep its group from ever starting.
    sql(REVOKE, "UPDATE groups SET founder = NULL WHERE founder = $1 AND founded = 0")
        .bind(id.to_string())
        .execute(&mut *work)
        .await?;
    Ok(true)
}

pub(super) async fn revocations(on: &Database, after: u64) -> Result<Vec<Revocation>> {
    let read = |row: &Row| Ok(Revocation { number: row.number("number")?, agent: row.parse("agent")? });
    sql("list revocations", "SELECT number, agent FROM revocations WHERE number > $1 ORDER BY number")
        .bind(after)
        .all(on, read)
        .await
}

fn read(row: &Row) -> Result<AgentRecord> {
    Ok(AgentRecord {
        id: row.parse("id")?,
        group: row.parse("group_id")?,
        name: row.parse("name")?,
        serial: row.text("serial")?,
        not_after_s: row.number("not_after_s")?,
        peer_address: row.text("peer_address")?,
        version: row.text("version")?,
        enrolled_s: row.number("enrolled_s")?,
        revoked_s: row.number_optional("revoked_s")?,
    })
}
