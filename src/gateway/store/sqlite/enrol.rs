//! The one transaction in which a stranger becomes an agent.

use sqlx::{SqliteConnection, SqlitePool};
use warren_core::id::{AgentId, TokenId};

use super::{
    groups,
    rows::{Columns, begin, failed, int},
    tokens,
};
use crate::store::{EnrolRefusal, Enrolled, NewAgent, Result, TokenState};

const ACT: &str = "enrol an agent";

pub(super) async fn enrol(
    pool: &SqlitePool,
    agent: &NewAgent,
    token: TokenId,
    now_s: u64,
) -> Result<Result<Enrolled, EnrolRefusal>> {
    let mut transaction = begin(pool, ACT).await?;
    let enrolled = enrol_on(&mut transaction, agent, token, now_s).await?;
    if enrolled.is_ok() {
        transaction.commit().await.map_err(failed(ACT))?;
    }
    Ok(enrolled)
}

async fn enrol_on(
    on: &mut SqliteConnection,
    agent: &NewAgent,
    token: TokenId,
    now_s: u64,
) -> Result<Result<Enrolled, EnrolRefusal>> {
    let Some(known) = tokens::get(&mut *on, token).await?.filter(|token| token.group == agent.group) else {
        return Ok(Err(EnrolRefusal::UnknownToken));
    };
    let Some(group) = groups::get(&mut *on, agent.group).await? else {
        return Ok(Err(EnrolRefusal::GroupGone));
    };
    let state = known.state(group.generation, now_s);
    match state {
        TokenState::Revoked => return Ok(Err(EnrolRefusal::Revoked)),
        TokenState::Rotated => return Ok(Err(EnrolRefusal::Rotated)),
        TokenState::Expired => return Ok(Err(EnrolRefusal::Expired)),
        TokenState::UsedUp | TokenState::Active => {}
    }
    if let Some((id, revoked)) = same_key(on, agent).await? {
        let enrolled = Enrolled { agent: id, group, again: true };
        return Ok(if revoked { Err(EnrolRefusal::AgentRevoked) } else { Ok(enrolled) });
    }
    if state == TokenState::UsedUp {
        return Ok(Err(EnrolRefusal::UsedUp));
    }
    // Counted again by the statement itself: a store with weaker isolation than SQLite's must not lose a use.
    let used = sqlx::query(
        "UPDATE tokens SET uses = uses + 1 WHERE id = ? AND (max_uses IS NULL OR uses < max_uses)",
    )
    .bind(token.to_string())
    .execute(&mut *on)
    .await
    .map_err(failed(ACT))?;
    if used.rows_affected() == 0 {
        return Ok(Err(EnrolRefusal::UsedUp));
    }
    sqlx::query(
        "INSERT INTO agents (id, group_id, name, token, key_hash, version, enrolled_s) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(agent.id.to_string())
    .bind(agent.group.to_string())
    .bind(agent.name.as_str())
    .bind(token.to_string())
    .bind(agent.key_hash.as_slice())
    .bind(&agent.version)
    .bind(int(now_s))
    .execute(&mut *on)
    .await
    .map_err(failed(ACT))?;
    Ok(Ok(Enrolled { agent: agent.id, group, again: false }))
}

/// The agent of the group that has this key already, and whether it was revoked. By whichever token it came: one that was
/// away for longer than its certificate lived comes back under its id with a fresh token.
async fn same_key(on: &mut SqliteConnection, agent: &NewAgent) -> Result<Option<(AgentId, bool)>> {
    let row = sqlx::query("SELECT id, revoked_s FROM agents WHERE group_id = ? AND key_hash = ?")
        .bind(agent.group.to_string())
        .bind(agent.key_hash.as_slice())
        .fetch_optional(on)
        .await
        .map_err(failed(ACT))?;
    let Some(row) = row else { return Ok(None) };
    let row = Columns(&row);
    Ok(Some((row.parse("id")?, row.number_optional::<u64>("revoked_s")?.is_some())))
}
