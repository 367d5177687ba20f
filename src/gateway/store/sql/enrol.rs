//! The one transaction in which a stranger becomes an agent.

use warren_core::id::{AgentId, TokenId};

use super::{
    database::{Database, Work},
    groups,
    statement::sql,
    tokens,
};
use crate::store::{EnrolRefusal, Enrolled, NewAgent, Result, TokenState};

const ACT: &str = "enrol an agent";

pub(super) async fn enrol(
    on: &Database,
    agent: &NewAgent,
    token: TokenId,
    now_s: u64,
) -> Result<Result<Enrolled, EnrolRefusal>> {
    let mut work = on.begin(ACT).await?;
    let enrolled = enrol_on(&mut work, agent, token, now_s).await?;
    match enrolled {
        Ok(_) => work.commit().await?,
        Err(_) => work.undo().await?,
    }
    Ok(enrolled)
}

async fn enrol_on(
    work: &mut Work,
    agent: &NewAgent,
    token: TokenId,
    now_s: u64,
) -> Result<Result<Enrolled, EnrolRefusal>> {
    let Some(known) = tokens::get(&mut *work, token).await?.filter(|token| token.group == agent.group) else {
        return Ok(Err(EnrolRefusal::UnknownToken));
    };
    let Some(group) = groups::get(&mut *work, agent.group).await? else {
        return Ok(Err(EnrolRefusal::GroupGone));
    };
    let state = known.state(group.generation, now_s);
    match state {
        TokenState::Revoked => return Ok(Err(EnrolRefusal::Revoked)),
        TokenState::Rotated => return Ok(Err(EnrolRefusal::Rotated)),
        TokenState::Expired => return Ok(Err(EnrolRefusal::Expired)),
        TokenState::UsedUp | TokenState::Active => {}
    }
    if let Some((id, revoked)) = same_key(work, agent).await? {
        let enrolled = Enrolled { agent: id, group, again: true };
        return Ok(if revoked { Err(EnrolRefusal::AgentRevoked) } else { Ok(enrolled) });
    }
    if state == TokenState::UsedUp {
        return Ok(Err(EnrolRefusal::UsedUp));
    }
    // Counted again by the statement itself: a use must not be lost, whatever the isolation.
    let used =
        sql(ACT, "UPDATE tokens SET uses = uses + 1 WHERE id = $1 AND (max_uses IS NULL OR uses < max_uses)")
            .bind(token.to_string())
            .execute(&mut *work)
            .await?;
    if used == 0 {
        return Ok(Err(EnrolRefusal::UsedUp));
    }
    sql(
        ACT,
        "INSERT INTO agents (id, group_id, name, token, key_hash, version, enrolled_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(agent.id.to_string())
    .bind(agent.group.to_string())
    .bind(agent.name.as_str())
    .bind(token.to_string())
    .bind(&agent.key_hash)
    .bind(agent.version.as_str())
    .bind(now_s)
    .execute(&mut *work)
    .await?;
    Ok(Ok(Enrolled { agent: agent.id, group, again: false }))
}

/// The agent of the group that has this key already, and whether it was revoked. By whichever token it came: one that was
/// away for longer than its certificate lived comes back under its id with a fresh token.
async fn same_key(work: &mut Work, agent: &NewAgent) -> Result<Option<(AgentId, bool)>> {
    sql(ACT, "SELECT id, revoked_s FROM agents WHERE group_id = $1 AND key_hash = $2")
        .bind(agent.group.to_string())
        .bind(&agent.key_hash)
        .one(work, |row| Ok((row.parse("id")?, row.number_optional::<u64>("revoked_s")?.is_some())))
        .await
}
