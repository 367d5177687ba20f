use sqlx::{SqlitePool, sqlite::SqliteRow};
use warren_core::id::UserId;

use super::rows::{Columns, failed, int, taken, unknown};
use crate::store::{Result, StoreError, UserRecord};

pub(super) async fn create(pool: &SqlitePool, user: &UserRecord) -> Result<()> {
    sqlx::query("INSERT INTO users (id, name, role, token_hash, created_s) VALUES (?, ?, ?, ?, ?)")
        .bind(user.id.to_string())
        .bind(user.name.as_str())
        .bind(user.role.as_str())
        .bind(user.token_hash.as_slice())
        .bind(int(user.created_s))
        .execute(pool)
        .await
        .map_err(taken("create a user", "user", &user.name))?;
    Ok(())
}

pub(super) async fn replace(pool: &SqlitePool, user: &UserRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, name, role, token_hash, created_s) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET role = excluded.role, token_hash = excluded.token_hash",
    )
    .bind(user.id.to_string())
    .bind(user.name.as_str())
    .bind(user.role.as_str())
    .bind(user.token_hash.as_slice())
    .bind(int(user.created_s))
    .execute(pool)
    .await
    .map_err(failed("replace a user"))?;
    Ok(())
}

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<UserRecord>> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY name")
        .fetch_all(pool)
        .await
        .map_err(failed("list users"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn by_token(pool: &SqlitePool, token_hash: &[u8; 32]) -> Result<Option<UserRecord>> {
    let row = sqlx::query("SELECT * FROM users WHERE token_hash = ?")
        .bind(token_hash.as_slice())
        .fetch_optional(pool)
        .await
        .map_err(failed("find a user"))?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn delete(pool: &SqlitePool, id: UserId) -> Result<()> {
    let deleted = sqlx::query(
        "DELETE FROM users WHERE id = ? \
         AND (role <> 'admin' OR (SELECT count(*) FROM users WHERE role = 'admin') > 1)",
    )
    .bind(id.to_string())
    .execute(pool)
    .await
    .map_err(failed("delete a user"))?;
    if deleted.rows_affected() > 0 {
        return Ok(());
    }
    let kept = list(pool).await?.into_iter().find(|user| user.id == id);
    Err(kept
        .map_or_else(|| unknown("user", id), |user| StoreError::LastAdmin { name: user.name.to_string() }))
}

fn read(row: &SqliteRow) -> Result<UserRecord> {
    let row = Columns(row);
    Ok(UserRecord {
        id: row.parse("id")?,
        name: row.parse("name")?,
        role: row.parse("role")?,
        created_s: row.number("created_s")?,
        token_hash: row.hash("token_hash")?,
    })
}
