//! Who the agent is, or what it would enrol with.

use std::time::{Duration, SystemTime};

use warren_identity::Validity;

use super::span;
use crate::{
    cloud::causes,
    enrol::EnrolError,
    examine::{
        check::{Check, Hop},
        identity::{Known, TokenSeen},
        seconds,
    },
};

pub(in crate::examine) fn identity(known: &Known, now: SystemTime) -> Check {
    match known {
        Known::Enrolled { agent, group, group_name, validity, token } => {
            let who = format!("{agent} of group {group_name} ({group})");
            certificate(&who, *validity, *token, now)
        }
        Known::New { left, token } => {
            let state = match left {
                true => "has left its group, and enrols anew at its next start",
                false => "not enrolled yet",
            };
            self::token(state, token, now)
        }
        Known::Broken { why, is_denied: true } => {
            Check::failed(Hop::Identity, why.clone(), "run it as the agent's user, or as root")
        }
        Known::Broken { why, is_denied: false } => Check::failed(
            Hop::Identity,
            why.clone(),
            "restore the data folder; or move it away, and enrol anew with a new token",
        ),
    }
}

/// An agent with a token enrols anew by itself, under the same id.
pub(super) fn certificate(who: &str, validity: Validity, has_token: bool, now: SystemTime) -> Check {
    let Validity { not_before, not_after } = validity;
    if let Ok(wait) = not_before.duration_since(now)
        && !wait.is_zero()
    {
        let seen = format!("{who}, its certificate holds in {} only", span(wait));
        return Check::failed(Hop::Identity, seen, "this machine's clock is behind: set it right");
    }
    if let Ok(ago) = now.duration_since(not_after) {
        let seen = format!("{who}, its certificate ended {} ago", span(ago));
        let advice =
            "start it with a new token (`warren tokens create`): it keeps its id and its place in the group";
        return match has_token {
            true => Check::warn(Hop::Identity, seen).advise(
                "it enrols again by the token that is given, if the gateway still takes it; else start it with a new one",
            ),
            false => Check::failed(Hop::Identity, seen, advice),
        };
    }
    let remaining = validity.remaining(now);
    let seen = format!("{who}, its certificate holds for {}", span(remaining));
    let life = not_after.duration_since(not_before).unwrap_or_default();
    if remaining < life / 4 {
        let advice =
            "it should have been renewed at half of its life: see that the agent runs and reaches a gateway";
        return Check::warn(Hop::Identity, seen).advise(advice);
    }
    Check::ok(Hop::Identity, seen)
}

fn token(state: &str, token: &Result<TokenSeen, EnrolError>, now: SystemTime) -> Check {
    let new = "make a new token with `warren tokens create --group GROUP`, and give it with --token @FILE";
    let token = match token {
        Ok(token) => token,
        Err(EnrolError::NoToken) => {
            return Check::failed(Hop::Identity, format!("{state}, and no token is given"), new);
        }
        Err(error) => return Check::failed(Hop::Identity, format!("{state}: {}", causes(error)), new),
    };
    let Some(group) = token.group else {
        return Check::failed(Hop::Identity, format!("{state}, and what is given as token is none"), new);
    };
    match token.end.map(|end| end.checked_sub(seconds(now))) {
        Some(None | Some(0)) => {
            let seen = format!("{state}, and the token for {group} has ended by this machine's clock");
            Check::failed(Hop::Identity, seen, new)
        }
        Some(Some(left)) => {
            let left = span(Duration::from_secs(left));
            Check::ok(Hop::Identity, format!("{state}; a token for {group} is given, good for {left}"))
        }
        None => Check::ok(Hop::Identity, format!("{state}; a token for {group} is given")),
    }
}
