use sqlx::{SqliteExecutor, SqlitePool, sqlite::SqliteRow};
use warren_core::id::{GroupId, TokenId};

use super::rows::{Columns, failed, int, unknown};
use crate::store::{Result, TokenRecord};

pub(super) async fn create(pool: &SqlitePool, token: &TokenRecord) -> Result<()> {
    // Against a group that is deleted or rotated at the same moment.
    let created = sqlx::query(
        "INSERT INTO tokens (id, group_id, customer, created_s, expires_s, max_uses, generation) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
         WHERE EXISTS (SELECT 1 FROM groups WHERE id = ?2 AND deleted_s IS NULL AND generation = ?7)",
    )
    .bind(token.id.to_string())
    .bind(token.group.to_string())
    .bind(token.customer.map(|customer| customer.to_string()))
    .bind(int(token.created_s))
    .bind(int(token.expires_s))
    .bind(token.max_uses)
    .bind(token.generation)
    .execute(pool)
    .await
    .map_err(failed("create a token"))?;
    if created.rows_affected() == 0 { Err(unknown("group", token.group)) } else { Ok(()) }
}

pub(super) async fn get(on: impl SqliteExecutor<'_>, id: TokenId) -> Result<Option<TokenRecord>> {
    let row = sqlx::query("SELECT * FROM tokens WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(on)
        .await
        .map_err(failed("read a token"))?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn list(pool: &SqlitePool, group: Option<GroupId>) -> Result<Vec<TokenRecord>> {
    let rows = sqlx::query(
        "SELECT t.* FROM tokens t JOIN groups g ON g.id = t.group_id AND g.deleted_s IS NULL \
         WHERE ?1 IS NULL OR t.group_id = ?1 ORDER BY t.created_s DESC, t.id",
    )
    .bind(group.map(|group| group.to_string()))
    .fetch_all(pool)
    .await
    .map_err(failed("list tokens"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn rotate(pool: &SqlitePool, group: GroupId) -> Result<u32> {
    let generation: Option<u32> = sqlx::query_scalar(
        "UPDATE groups SET generation = generation + 1 WHERE id = ? AND deleted_s IS NULL RETURNING generation",
    )
    .bind(group.to_string())
    .fetch_optional(pool)
    .await
    .map_err(failed("rotate tokens"))?;
    generation.ok_or_else(|| unknown("group", group))
}

pub(super) async fn revoke(pool: &SqlitePool, id: TokenId, now_s: u64) -> Result<bool> {
    let revoked = sqlx::query("UPDATE tokens SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL")
        .bind(int(now_s))
        .bind(id.to_string())
        .execute(pool)
        .await
        .map_err(failed("revoke a token"))?;
    if revoked.rows_affected() > 0 {
        return Ok(true);
    }
    get(pool, id).await?.map(|_| false).ok_or_else(|| unknown("token", id))
}

fn read(row: &SqliteRow) -> Result<TokenRecord> {
    let row = Columns(row);
    Ok(TokenRecord {
        id: row.parse("id")?,
        group: row.parse("group_id")?,
        customer: row.parse_optional("customer")?,
        created_s: row.number("created_s")?,
        expires_s: row.number("expires_s")?,
        max_uses: row.number_optional("max_uses")?,
        uses: row.number("uses")?,
        generation: row.number("generation")?,
        revoked_s: row.number_optional("revoked_s")?,
    })
}
