use warren_core::id::{AgentId, GroupId};

use super::{
    agents,
    database::Database,
    gateways,
    row::{Row, taken, unknown},
    statement::{On, sql},
};
use crate::store::{CustomerRef, GroupRecord, Result};

pub(super) async fn create(on: &Database, group: &GroupRecord) -> Result<()> {
    let act = "create a group";
    let mut work = on.begin(act).await?;
    // The customer may have been deleted a moment ago, which a foreign key alone would not see.
    let created = sql(
        act,
        "INSERT INTO groups (id, name, customer, created_s, generation) SELECT $1, $2, $3, $4, $5 \
         WHERE $3 IS NULL OR EXISTS (SELECT 1 FROM customers WHERE id = $3 AND deleted_s IS NULL)",
    )
    .bind(group.id.to_string())
    .bind(group.name.as_str())
    .bind(group.customer.as_ref().map(|customer| customer.id.to_string()))
    .bind(group.created_s)
    .bind(group.generation)
    .execute(&mut work)
    .await
    .map_err(|error| taken(error, "group", group.label()))?;
    match (created, &group.customer) {
        (0, Some(customer)) => {
            work.undo().await?;
            Err(unknown("customer", &customer.name))
        }
        _ => gateways::publish(on, work, act).await,
    }
}

pub(super) async fn list(on: &Database) -> Result<Vec<GroupRecord>> {
    sql(
        "list groups",
        "SELECT g.id, g.name, g.created_s, g.generation, c.id AS customer, c.name AS customer_name \
         FROM groups g LEFT JOIN customers c ON c.id = g.customer WHERE g.deleted_s IS NULL \
         ORDER BY coalesce(c.name, ''), g.name",
    )
    .all(on, read)
    .await
}

pub(super) async fn get(on: impl Into<On<'_>>, id: GroupId) -> Result<Option<GroupRecord>> {
    sql(
        "read a group",
        "SELECT g.id, g.name, g.created_s, g.generation, c.id AS customer, c.name AS customer_name \
         FROM groups g LEFT JOIN customers c ON c.id = g.customer WHERE g.id = $1 AND g.deleted_s IS NULL",
    )
    .bind(id.to_string())
    .one(on, read)
    .await
}

pub(super) async fn delete(on: &Database, id: GroupId, now_s: u64) -> Result<Vec<AgentId>> {
    let act = "delete a group";
    let mut work = on.begin(act).await?;
    let deleted = sql(act, "UPDATE groups SET deleted_s = $1 WHERE id = $2 AND deleted_s IS NULL")
        .bind(now_s)
        .bind(id.to_string())
        .execute(&mut work)
        .await?;
    if deleted == 0 {
        work.undo().await?;
        return Err(unknown("group", id));
    }
    let agents: Vec<AgentId> =
        sql(act, "SELECT id FROM agents WHERE group_id = $1 AND revoked_s IS NULL ORDER BY enrolled_s, id")
            .bind(id.to_string())
            .all(&mut work, |row| row.parse("id"))
            .await?;
    for &agent in &agents {
        agents::revoke_on(&mut work, agent, now_s).await?;
    }
    sql(act, "UPDATE tokens SET revoked_s = $1 WHERE group_id = $2 AND revoked_s IS NULL")
        .bind(now_s)
        .bind(id.to_string())
        .execute(&mut work)
        .await?;
    sql(act, "DELETE FROM listeners WHERE group_id = $1").bind(id.to_string()).execute(&mut work).await?;
    gateways::publish(on, work, act).await?;
    Ok(agents)
}

pub(super) async fn claim_founder(on: &Database, group: GroupId, agent: AgentId) -> Result<bool> {
    let act = "choose a founder";
    let mut work = on.begin(act).await?;
    let claimed = sql(
        act,
        "UPDATE groups SET founder = $2 WHERE id = $1 AND deleted_s IS NULL AND founded = 0 \
         AND (founder IS NULL OR founder = $2) \
         AND EXISTS (SELECT 1 FROM agents WHERE id = $2 AND group_id = $1 AND revoked_s IS NULL)",
    )
    .bind(group.to_string())
    .bind(agent.to_string())
    .execute(&mut work)
    .await?;
    work.commit().await?;
    Ok(claimed > 0)
}

pub(super) async fn mark_founded(on: &Database, group: GroupId) -> Result<()> {
    sql("mark a group as founded", "UPDATE groups SET founded = 1 WHERE id = $1 AND founded = 0")
        .bind(group.to_string())
        .execute(on)
        .await
        .map(drop)
}

fn read(row: &Row) -> Result<GroupRecord> {
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
