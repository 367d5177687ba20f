//! What several gateways know of sessions.

use std::cmp::Reverse;

use tonic::Code;
use warren_core::id::GatewayId;
use warren_wire::v1::{ListSessionsResponse, Session, Unheard};

use super::convert::named;
use crate::admin::{
    error::Problem,
    everywhere::{Missing, Untold},
};

/// Adds what another gateway has, so that at most `limit` are left: the newest, open ones before those that have ended.
pub(super) fn join(
    list: &mut ListSessionsResponse,
    gateway: GatewayId,
    theirs: ListSessionsResponse,
    limit: usize,
) {
    list.sessions.extend(theirs.sessions.into_iter().map(|session| named(session, gateway)));
    list.total_open = list.total_open.saturating_add(theirs.total_open);
    list.sessions.sort_by_key(|session| match session.closed_ms {
        0 => (false, Reverse(session.opened_ms)),
        closed => (true, Reverse(closed)),
    });
    list.sessions.truncate(limit);
}

/// Which of two records of one trace tells more: the one that was tried on a member, then the newer.
pub(super) fn better(one: Option<Session>, other: Session) -> Session {
    let tells = |session: &Session| (!session.attempts.is_empty(), session.opened_ms);
    match one {
        Some(one) if tells(&one) >= tells(&other) => one,
        _ => other,
    }
}

/// Nobody has it, as far as that can be said.
pub(super) fn not_found(id: &str, missing: &Missing) -> Problem {
    let unheard: Vec<_> = missing
        .iter()
        .filter(|(_, untold)| untold.reason.as_deref() != Some("unknown_session"))
        .map(|(gateway, untold)| format!("{gateway}: {}", untold.why))
        .collect();
    if unheard.is_empty() {
        return Problem::unknown("session", id);
    }
    let message =
        format!("session `{id}` is not known here, and not everybody was heard ({})", unheard.join(", "));
    Problem::new(Code::Unavailable, "unreachable", message)
}

/// For those who read a list.
pub(super) fn told(missing: Missing) -> Vec<Unheard> {
    let told = |(gateway, Untold { why, .. }): (GatewayId, _)| Unheard { gateway: gateway.to_string(), why };
    missing.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, opened_ms: u64, closed_ms: u64) -> Session {
        Session { id: id.into(), opened_ms, closed_ms, ..Session::default() }
    }

    fn list(sessions: Vec<Session>, total_open: u64) -> ListSessionsResponse {
        ListSessionsResponse { sessions, total_open, missing: Vec::new() }
    }

    #[test]
    fn open_sessions_come_first_and_the_newest_of_each() {
        let gateway = GatewayId::from_random(2);
        let mut all = list(vec![session("1@a", 30, 0), session("2@a", 10, 0), session("3@a", 5, 20)], 2);
        let theirs = vec![session("1", 40, 0), session("2", 20, 0), session("3", 1, 50), session("4", 2, 10)];
        join(&mut all, gateway, list(theirs, 7), 6);
        let ids: Vec<_> =
            all.sessions.iter().map(|session| session.id.replace(&gateway.to_string(), "b")).collect();
        assert_eq!(ids, ["1@b", "1@a", "2@b", "2@a", "3@b", "3@a"], "and one too many is left out");
        assert_eq!(all.total_open, 9);
        assert_eq!(all.sessions[0].gateway, gateway.to_string());
    }

    #[test]
    fn of_one_trace_the_record_with_its_tries_tells_more() {
        let tried = Session { attempts: vec![Default::default()], ..session("tried", 1, 0) };
        let passed_on = || session("passed-on", 2, 0);
        assert_eq!(better(Some(tried.clone()), passed_on()).id, "tried");
        assert_eq!(better(Some(passed_on()), tried).id, "tried");
        assert_eq!(better(Some(session("older", 1, 0)), passed_on()).id, "passed-on");
        assert_eq!(better(None, passed_on()).id, "passed-on");
    }

    #[test]
    fn unknown_is_said_only_when_everybody_was_heard() {
        let unknown = Untold { reason: Some("unknown_session".into()), why: "there is none".into() };
        let mut missing = Missing::from([(GatewayId::from_random(1), unknown)]);
        assert_eq!(not_found("7", &missing).reason, "unknown_session");
        missing.insert(GatewayId::from_random(2), Untold { reason: None, why: "no tunnel to it".into() });
        let problem = not_found("7", &missing);
        assert!(problem.reason == "unreachable" && problem.message.contains("no tunnel to it"));
    }
}
