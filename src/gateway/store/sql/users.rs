use warren_core::id::UserId;

use super::{
    database::Database,
    row::{Row, taken, unknown},
    statement::{On, Statement, sql},
};
use crate::store::{Result, StoreError, UserRecord};

pub(super) async fn create(on: &Database, user: &UserRecord) -> Result<()> {
    let insert = "INSERT INTO users (id, name, role, token_hash, created_s) VALUES ($1, $2, $3, $4, $5)";
    bind(sql("create a user", insert), user)
        .execute(on)
        .await
        .map(drop)
        .map_err(|error| taken(error, "user", &user.name))
}

pub(super) async fn replace(on: &Database, user: &UserRecord) -> Result<()> {
    let put = "INSERT INTO users (id, name, role, token_hash, created_s) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (name) DO UPDATE SET role = excluded.role, token_hash = excluded.token_hash";
    bind(sql("replace a user", put), user).execute(on).await.map(drop)
}

pub(super) async fn list(on: impl Into<On<'_>>) -> Result<Vec<UserRecord>> {
    sql("list users", "SELECT * FROM users ORDER BY name").all(on, read).await
}

pub(super) async fn by_token(on: &Database, token_hash: &[u8; 32]) -> Result<Option<UserRecord>> {
    sql("find a user", "SELECT * FROM users WHERE token_hash = $1").bind(token_hash).one(on, read).await
}

pub(super) async fn delete(on: &Database, id: UserId) -> Result<()> {
    let act = "delete a user";
    let mut work = on.begin(act).await?;
    let deleted = sql(
        act,
        "DELETE FROM users WHERE id = $1 \
         AND (role <> 'admin' OR (SELECT count(*) FROM users WHERE role = 'admin') > 1)",
    )
    .bind(id.to_string())
    .execute(&mut work)
    .await?;
    if deleted > 0 {
        return work.commit().await;
    }
    let kept = list(&mut work).await?.into_iter().find(|user| user.id == id);
    work.undo().await?;
    Err(kept
        .map_or_else(|| unknown("user", id), |user| StoreError::LastAdmin { name: user.name.to_string() }))
}

fn bind(statement: Statement, user: &UserRecord) -> Statement {
    statement
        .bind(user.id.to_string())
        .bind(user.name.as_str())
        .bind(user.role.as_str())
        .bind(&user.token_hash)
        .bind(user.created_s)
}

fn read(row: &Row) -> Result<UserRecord> {
    Ok(UserRecord {
        id: row.parse("id")?,
        name: row.parse("name")?,
        role: row.parse("role")?,
        created_s: row.number("created_s")?,
        token_hash: row.hash("token_hash")?,
    })
}
