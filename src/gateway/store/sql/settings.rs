use super::{
    database::Database,
    statement::{On, sql},
};
use crate::store::{Result, StoreError};

pub(super) async fn get(on: impl Into<On<'_>>, key: &str) -> Result<Option<String>> {
    sql("read a setting", "SELECT value FROM settings WHERE key = $1")
        .bind(key)
        .one(on, |row| row.text("value"))
        .await
}

pub(super) async fn settle(on: &Database, key: &str, value: &str) -> Result<String> {
    let act = "keep a setting";
    let mut work = on.begin(act).await?;
    sql(act, "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING")
        .bind(key)
        .bind(value)
        .execute(&mut work)
        .await?;
    let kept = get(&mut work, key).await?;
    work.commit().await?;
    kept.ok_or_else(|| StoreError::Corrupt { what: "settings", found: format!("no `{key}`") })
}
