use sqlx::SqlitePool;

use super::rows::{begin, failed};
use crate::store::Result;

pub(super) async fn get(pool: &SqlitePool, key: &str) -> Result<Option<String>> {
    sqlx::query_scalar("SELECT value FROM settings WHERE key = ?")
        .bind(key)
        .fetch_optional(pool)
        .await
        .map_err(failed("read a setting"))
}

pub(super) async fn settle(pool: &SqlitePool, key: &str, value: &str) -> Result<String> {
    let act = "keep a setting";
    let mut transaction = begin(pool, act).await?;
    sqlx::query("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING")
        .bind(key)
        .bind(value)
        .execute(&mut *transaction)
        .await
        .map_err(failed(act))?;
    let kept = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?")
        .bind(key)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed(act))?;
    transaction.commit().await.map_err(failed(act))?;
    Ok(kept)
}
