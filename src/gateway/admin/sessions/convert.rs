//! Records as the API has them.

use std::time::{Duration, SystemTime};

use warren_core::{balance::CandidateRecord, id::GatewayId, trace::TraceId};
use warren_wire::v1::{Attempt, Candidate, Session};

use crate::{
    admin::Context,
    sessions::{self, SessionRecord},
    store::GroupRecord,
};

impl Context {
    pub(super) fn shown(&self, record: SessionRecord, groups: &[GroupRecord]) -> Session {
        let group = groups.iter().find(|group| group.id == record.group);
        let session = Session {
            group: group.map_or_else(|| record.group.to_string(), |group| group.name.to_string()),
            resource: record.resource.to_string(),
            caller: record.caller.to_string(),
            member: record.member.map(|member| member.to_string()).unwrap_or_default(),
            member_name: record.member_name,
            opened_ms: ms(record.opened),
            closed_ms: record.closed.map(ms).unwrap_or_default(),
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            outcome: record.outcome.as_str().to_owned(),
            detail: record.detail,
            attempts: record.attempts.into_iter().map(attempt).collect(),
            trace: TraceId(record.trace).to_string(),
            gateway: self.gateway.to_string(),
            id: record.id.to_string(),
        };
        if self.neighbours.is_alone() { session } else { named(session, self.gateway) }
    }
}

/// With the gateway in its id, where others have sessions, too. One of before there were such ids, or that is alone as far as
/// it knows, gives a number.
pub(super) fn named(mut session: Session, gateway: GatewayId) -> Session {
    if !session.id.contains('@') {
        session.id = format!("{}@{gateway}", session.id);
    }
    session.gateway = gateway.to_string();
    session
}

fn attempt(attempt: sessions::Attempt) -> Attempt {
    Attempt {
        candidates: attempt.candidates.into_iter().map(candidate).collect(),
        chosen: attempt.chosen.to_string(),
        rule: attempt.rule.as_str().to_owned(),
        result: attempt.result.to_owned(),
        took_us: us(attempt.took),
        after_us: us(attempt.after),
    }
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn candidate(candidate: CandidateRecord) -> Candidate {
    Candidate {
        member: candidate.member.to_string(),
        score: candidate.score,
        sessions: candidate.sessions,
        excluded: candidate.excluded.map(|why| why.as_str().to_owned()).unwrap_or_default(),
    }
}
