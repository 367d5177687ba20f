use sqlx::{SqliteConnection, SqlitePool, sqlite::SqliteRow};
use warren_core::id::{AgentId, GroupId};

use super::rows::{Columns, begin, failed, int, unknown};
use crate::store::{AgentRecord, Result, Revocation};

pub(super) async fn get(pool: &SqlitePool, id: AgentId) -> Result<Option<AgentRecord>> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(failed("read an agent"))?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn list(pool: &SqlitePool, group: Option<GroupId>) -> Result<Vec<AgentRecord>> {
    let rows = sqlx::query(
        "SELECT a.* FROM agents a JOIN groups g ON g.id = a.group_id AND g.deleted_s IS NULL \
         WHERE ?1 IS NULL OR a.group_id = ?1 ORDER BY a.enrolled_s, a.id",
    )
    .bind(group.map(|group| group.to_string()))
    .fetch_all(pool)
    .await
    .map_err(failed("list agents"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn renew(pool: &SqlitePool, id: AgentId, serial: &str, not_after_s: u64) -> Result<bool> {
    let renewed =
        sqlx::query("UPDATE agents SET serial = ?, not_after_s = ? WHERE id = ? AND revoked_s IS NULL")
            .bind(serial)
            .bind(int(not_after_s))
            .bind(id.to_string())
            .execute(pool)
            .await
            .map_err(failed("record a certificate"))?;
    Ok(renewed.rows_affected() > 0)
}

pub(super) async fn set_peer_address(pool: &SqlitePool, id: AgentId, peer_address: &str) -> Result<()> {
    sqlx::query("UPDATE agents SET peer_address = ?2 WHERE id = ?1 AND peer_address <> ?2")
        .bind(id.to_string())
        .bind(peer_address)
        .execute(pool)
        .await
        .map_err(failed("record a peer address"))?;
    Ok(())
}

pub(super) async fn set_version(pool: &SqlitePool, id: AgentId, version: &str) -> Result<()> {
    sqlx::query("UPDATE agents SET version = ?2 WHERE id = ?1 AND version <> ?2")
        .bind(id.to_string())
        .bind(version)
        .execute(pool)
        .await
        .map_err(failed("record an agent's version"))?;
    Ok(())
}

pub(super) async fn revoke(pool: &SqlitePool, id: AgentId, now_s: u64) -> Result<bool> {
    let act = "revoke an agent";
    let mut transaction = begin(pool, act).await?;
    let revoked = revoke_on(&mut transaction, id, now_s).await?;
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM agents WHERE id = ?")
        .bind(id.to_string())
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed(act))?;
    transaction.commit().await.map_err(failed(act))?;
    if known == 0 { Err(unknown("agent", id)) } else { Ok(revoked) }
}

/// Part of a transaction: `false` when there was nothing to revoke.
pub(super) async fn revoke_on(on: &mut SqliteConnection, id: AgentId, now_s: u64) -> Result<bool> {
    let act = "revoke an agent";
    let revoked = sqlx::query("UPDATE agents SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL")
        .bind(int(now_s))
        .bind(id.to_string())
        .execute(&mut *on)
        .await
        .map_err(failed(act))?;
    if revoked.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO revocations (agent, at_s) VALUES (?, ?)")
        .bind(id.to_string())
        .bind(int(now_s))
        .execute(&mut *on)
        .await
        .map_err(failed(act))?;
    // A founder that never came to founding must not keep its group from ever starting.
    sqlx::query("UPDATE groups SET founder = NULL WHERE founder = ? AND founded = 0")
        .bind(id.to_string())
        .execute(&mut *on)
        .await
        .map_err(failed(act))?;
    Ok(true)
}

pub(super) async fn revocations(pool: &SqlitePool, after: u64) -> Result<Vec<Revocation>> {
    let rows = sqlx::query("SELECT number, agent FROM revocations WHERE number > ? ORDER BY number")
        .bind(int(after))
        .fetch_all(pool)
        .await
        .map_err(failed("list revocations"))?;
    let read = |row: &SqliteRow| {
        let row = Columns(row);
        Ok(Revocation { number: row.number("number")?, agent: row.parse("agent")? })
    };
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<AgentRecord> {
    let row = Columns(row);
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
