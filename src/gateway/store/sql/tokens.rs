use warren_core::id::{GroupId, TokenId};

use super::{
    database::Database,
    row::{Row, unknown},
    statement::{On, sql},
};
use crate::store::{Result, TokenRecord};

pub(super) async fn create(on: &Database, token: &TokenRecord) -> Result<()> {
    let act = "create a token";
    let mut work = on.begin(act).await?;
    // The group may have been deleted or rotated a moment ago.
    let created = sql(
        act,
        "INSERT INTO tokens (id, group_id, customer, created_s, expires_s, max_uses, generation) \
         SELECT $1, $2, $3, $4, $5, $6, $7 \
         WHERE EXISTS (SELECT 1 FROM groups WHERE id = $2 AND deleted_s IS NULL AND generation = $7)",
    )
    .bind(token.id.to_string())
    .bind(token.group.to_string())
    .bind(token.customer.map(|customer| customer.to_string()))
    .bind(token.created_s)
    .bind(token.expires_s)
    .bind(token.max_uses)
    .bind(token.generation)
    .execute(&mut work)
    .await?;
    work.commit().await?;
    if created == 0 { Err(unknown("group", token.group)) } else { Ok(()) }
}

pub(super) async fn get(on: impl Into<On<'_>>, id: TokenId) -> Result<Option<TokenRecord>> {
    sql("read a token", "SELECT * FROM tokens WHERE id = $1").bind(id.to_string()).one(on, read).await
}

pub(super) async fn list(on: &Database, group: Option<GroupId>) -> Result<Vec<TokenRecord>> {
    sql(
        "list tokens",
        "SELECT t.* FROM tokens t JOIN groups g ON g.id = t.group_id AND g.deleted_s IS NULL \
         WHERE $1 IS NULL OR t.group_id = $1 ORDER BY t.created_s DESC, t.id",
    )
    .bind(group.map(|group| group.to_string()))
    .all(on, read)
    .await
}

pub(super) async fn rotate(on: &Database, group: GroupId) -> Result<u32> {
    let act = "rotate tokens";
    let mut work = on.begin(act).await?;
    let generation = sql(
        act,
        "UPDATE groups SET generation = generation + 1 WHERE id = $1 AND deleted_s IS NULL RETURNING generation",
    )
    .bind(group.to_string())
    .one(&mut work, |row| row.number("generation"))
    .await?;
    work.commit().await?;
    generation.ok_or_else(|| unknown("group", group))
}

pub(super) async fn revoke(on: &Database, id: TokenId, now_s: u64) -> Result<bool> {
    let act = "revoke a token";
    let mut work = on.begin(act).await?;
    let revoked = sql(act, "UPDATE tokens SET revoked_s = $1 WHERE id = $2 AND revoked_s IS NULL")
        .bind(now_s)
        .bind(id.to_string())
        .execute(&mut work)
        .await?;
    let known = get(&mut work, id).await?;
    work.commit().await?;
    known.map(|_| revoked > 0).ok_or_else(|| unknown("token", id))
}

fn read(row: &Row) -> Result<TokenRecord> {
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
