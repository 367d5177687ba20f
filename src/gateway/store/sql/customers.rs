use warren_core::id::CustomerId;

use super::{
    database::Database,
    row::{Row, taken, unknown},
    statement::{On, sql},
};
use crate::store::{CustomerRecord, Result, StoreError};

pub(super) async fn create(on: &Database, customer: &CustomerRecord) -> Result<()> {
    sql("create a customer", "INSERT INTO customers (id, name, created_s) VALUES ($1, $2, $3)")
        .bind(customer.id.to_string())
        .bind(customer.name.as_str())
        .bind(customer.created_s)
        .execute(on)
        .await
        .map(drop)
        .map_err(|error| taken(error, "customer", &customer.name))
}

pub(super) async fn list(on: &Database) -> Result<Vec<CustomerRecord>> {
    sql("list customers", "SELECT id, name, created_s FROM customers WHERE deleted_s IS NULL ORDER BY name")
        .all(on, read)
        .await
}

pub(super) async fn get(on: impl Into<On<'_>>, id: CustomerId) -> Result<Option<CustomerRecord>> {
    sql("read a customer", "SELECT id, name, created_s FROM customers WHERE id = $1 AND deleted_s IS NULL")
        .bind(id.to_string())
        .one(on, read)
        .await
}

pub(super) async fn delete(on: &Database, id: CustomerId, now_s: u64) -> Result<()> {
    let act = "delete a customer";
    let mut work = on.begin(act).await?;
    let deleted = sql(
        act,
        "UPDATE customers SET deleted_s = $1 WHERE id = $2 AND deleted_s IS NULL AND NOT EXISTS \
         (SELECT 1 FROM groups WHERE groups.customer = customers.id AND groups.deleted_s IS NULL)",
    )
    .bind(now_s)
    .bind(id.to_string())
    .execute(&mut work)
    .await?;
    if deleted > 0 {
        return work.commit().await;
    }
    let kept = get(&mut work, id).await?;
    work.undo().await?;
    Err(match kept {
        Some(customer) => StoreError::CustomerInUse { name: customer.name.to_string() },
        None => unknown("customer", id),
    })
}

fn read(row: &Row) -> Result<CustomerRecord> {
    Ok(CustomerRecord { id: row.parse("id")?, name: row.parse("name")?, created_s: row.number("created_s")? })
}
