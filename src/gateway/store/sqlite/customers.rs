use sqlx::{SqlitePool, sqlite::SqliteRow};
use warren_core::id::CustomerId;

use super::rows::{Columns, failed, int, taken, unknown};
use crate::store::{CustomerRecord, Result, StoreError};

pub(super) async fn create(pool: &SqlitePool, customer: &CustomerRecord) -> Result<()> {
    sqlx::query("INSERT INTO customers (id, name, created_s) VALUES (?, ?, ?)")
        .bind(customer.id.to_string())
        .bind(customer.name.as_str())
        .bind(int(customer.created_s))
        .execute(pool)
        .await
        .map_err(taken("create a customer", "customer", &customer.name))?;
    Ok(())
}

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<CustomerRecord>> {
    let rows = sqlx::query("SELECT id, name, created_s FROM customers WHERE deleted_s IS NULL ORDER BY name")
        .fetch_all(pool)
        .await
        .map_err(failed("list customers"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn get(pool: &SqlitePool, id: CustomerId) -> Result<Option<CustomerRecord>> {
    let row = sqlx::query("SELECT id, name, created_s FROM customers WHERE id = ? AND deleted_s IS NULL")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(failed("read a customer"))?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn delete(pool: &SqlitePool, id: CustomerId, now_s: u64) -> Result<()> {
    let deleted = sqlx::query(
        "UPDATE customers SET deleted_s = ? WHERE id = ? AND deleted_s IS NULL AND NOT EXISTS \
         (SELECT 1 FROM groups WHERE groups.customer = customers.id AND groups.deleted_s IS NULL)",
    )
    .bind(int(now_s))
    .bind(id.to_string())
    .execute(pool)
    .await
    .map_err(failed("delete a customer"))?;
    if deleted.rows_affected() > 0 {
        return Ok(());
    }
    Err(match get(pool, id).await? {
        Some(customer) => StoreError::CustomerInUse { name: customer.name.to_string() },
        None => unknown("customer", id),
    })
}

fn read(row: &SqliteRow) -> Result<CustomerRecord> {
    let row = Columns(row);
    Ok(CustomerRecord { id: row.parse("id")?, name: row.parse("name")?, created_s: row.number("created_s")? })
}
