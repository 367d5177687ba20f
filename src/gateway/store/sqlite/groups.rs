use sqlx::{SqliteExecutor, SqlitePool, sqlite::SqliteRow};
use warren_core::id::{AgentId, GroupId};

use super::{
    agents,
    rows::{Columns, begin, failed, int, taken, unknown},
};
use crate::store::{CustomerRef, GroupRecord, Result};

pub(super) async fn create(pool: &SqlitePool, group: &GroupRecord) -> Result<()> {
    let customer = group.customer.as_ref().map(|customer| customer.id.to_string());
    // The customer may be deleted at the same moment, which a foreign key alone would not see.
    let created = sqlx::query(
        "INSERT INTO groups (id, name, customer, created_s, generation) SELECT ?1, ?2, ?3, ?4, ?5 \
         WHERE ?3 IS NULL OR EXISTS (SELECT 1 FROM customers WHERE id = ?3 AND deleted_s IS NULL)",
    )
    .bind(group.id.to_string())
    .bind(group.name.as_str())
    .bind(&customer)
    .bind(int(group.created_s))
    .bind(group.generation)
    .execute(pool)
    .await
    .map_err(taken("create a group", "group", group.label()))?;
    match (created.rows_affected(), &group.customer) {
        (0, Some(customer)) => Err(unknown("customer", &customer.name)),
        _ => Ok(()),
    }
}

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<GroupRecord>> {
    let rows = sqlx::query(
        "SELECT g.id, g.name, g.created_s, g.generation, c.id AS customer, c.name AS customer_name \
         FROM groups g LEFT JOIN customers c ON c.id = g.customer WHERE g.deleted_s IS NULL \
         ORDER BY c.name, g.name",
    )
    .fetch_all(pool)
    .await
    .map_err(failed("list groups"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn get(on: impl SqliteExecutor<'_>, id: GroupId) -> Result<Option<GroupRecord>> {
    let row = sqlx::query(
        "SELECT g.id, g.name, g.created_s, g.generation, c.id AS customer, c.name AS customer_name \
         FROM groups g LEFT JOIN customers c ON c.id = g.customer WHERE g.id = ? AND g.deleted_s IS NULL",
    )
    .bind(id.to_string())
    .fetch_optional(on)
    .await
    .map_err(failed("read a group"))?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn delete(pool: &SqlitePool, id: GroupId, now_s: u64) -> Result<Vec<AgentId>> {
    let act = "delete a group";
    let mut transaction = begin(pool, act).await?;
    let deleted = sqlx::query("UPDATE groups SET deleted_s = ? WHERE id = ? AND deleted_s IS NULL")
        .bind(int(now_s))
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed(act))?;
    if deleted.rows_affected() == 0 {
        return Err(unknown("group", id));
    }
    let rows =
        sqlx::query("SELECT id FROM agents WHERE group_id = ? AND revoked_s IS NULL ORDER BY enrolled_s, id")
            .bind(id.to_string())
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed(act))?;
    let agents: Vec<AgentId> = rows.iter().map(|row| Columns(row).parse("id")).collect::<Result<_>>()?;
    for &agent in &agents {
        agents::revoke_on(&mut transaction, agent, now_s).await?;
    }
    sqlx::query("UPDATE tokens SET revoked_s = ? WHERE group_id = ? AND revoked_s IS NULL")
        .bind(int(now_s))
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed(act))?;
    sqlx::query("DELETE FROM listeners WHERE group_id = ?")
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed(act))?;
    transaction.commit().await.map_err(failed(act))?;
    Ok(agents)
}

pub(super) async fn claim_founder(pool: &SqlitePool, group: GroupId, agent: AgentId) -> Result<bool> {
    let claimed = sqlx::query(
        "UPDATE groups SET founder = ?2 WHERE id = ?1 AND deleted_s IS NULL AND founded = 0 \
         AND (founder IS NULL OR founder = ?2) \
         AND EXISTS (SELECT 1 FROM agents WHERE id = ?2 AND group_id = ?1 AND revoked_s IS NULL)",
    )
    .bind(group.to_string())
    .bind(agent.to_string())
    .execute(pool)
    .await
    .map_err(failed("choose a founder"))?;
    Ok(claimed.rows_affected() > 0)
}

pub(super) async fn mark_founded(pool: &SqlitePool, group: GroupId) -> Result<()> {
    sqlx::query("UPDATE groups SET founded = 1 WHERE id = ? AND founded = 0")
        .bind(group.to_string())
        .execute(pool)
        .await
        .map_err(failed("mark a group as founded"))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<GroupRecord> {
    let row = Columns(row);
    let customer = match row.parse_optional("customer")? {
        Some(id) => Some(CustomerRef { id, name: row.parse("customer_name")? }),
        None => None,
    };
    Ok(GroupRecord {
        id: row.parse("id")?,
        name: row.parse("name")?,
        customer,
        created_s: row.number("created_s")?,
        generation: row.number("generation")?,
    })
}
