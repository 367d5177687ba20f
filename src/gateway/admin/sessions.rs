use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};
use warren_core::{balance::CandidateRecord, id::AgentId, trace::TraceId};
use warren_wire::v1::{
    Attempt, Candidate, ListSessionsRequest, ListSessionsResponse, Session, ShowSessionRequest,
    sessions_server::Sessions,
};

use super::{Api, error::Problem};
use crate::{
    sessions::{self, SessionFilter, SessionRecord},
    store::GroupRecord,
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

#[tonic::async_trait]
impl Sessions for Api {
    async fn list(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let asked = request.into_inner();
        let filter = SessionFilter {
            group: match asked.group.as_str() {
                "" => None,
                text => Some(self.find_group(text).await?.id),
            },
            resource: match asked.resource.as_str() {
                "" => None,
                text => Some(text.parse().map_err(Problem::from)?),
            },
            member: self.member_filter(&asked.member).await?,
            ended: asked.all,
            limit: match usize::try_from(asked.limit).unwrap_or(usize::MAX) {
                0 => LIMIT_DEFAULT,
                limit => limit.min(LIMIT_MAX),
            },
        };
        let groups = self.context.store.groups().await.map_err(Problem::from)?;
        let (records, open) = self.context.sessions.list(&filter);
        let sessions = records.into_iter().map(|record| shown(record, &groups)).collect();
        let total_open = u64::try_from(open).unwrap_or(u64::MAX);
        Ok(Response::new(ListSessionsResponse { sessions, total_open }))
    }

    async fn show(&self, request: Request<ShowSessionRequest>) -> Result<Response<Session>, Status> {
        let id = request.into_inner().id;
        let sessions = &self.context.sessions;
        let record = match (id.parse::<TraceId>(), id.parse::<u64>()) {
            (Ok(trace), _) => sessions.of_trace(trace),
            (Err(_), Ok(number)) => sessions.get(number),
            (Err(_), Err(_)) => {
                let told = format!("`{id}` is neither the number of a session nor its trace");
                return Err(Problem::invalid(told).into());
            }
        };
        let record = record.ok_or_else(|| Problem::unknown("session", &id))?;
        let groups = self.context.store.groups().await.map_err(Problem::from)?;
        Ok(Response::new(shown(record, &groups)))
    }
}

impl Api {
    /// An id is taken as it is: sessions of an agent that is gone are still remembered.
    async fn member_filter(&self, text: &str) -> Result<Option<AgentId>, Problem> {
        match (text, text.parse()) {
            ("", _) => Ok(None),
            (_, Ok(id)) => Ok(Some(id)),
            (name, Err(_)) => Ok(Some(self.find_agent(name).await?.id)),
        }
    }
}

fn shown(record: SessionRecord, groups: &[GroupRecord]) -> Session {
    let group = groups.iter().find(|group| group.id == record.group);
    Session {
        id: record.id.to_string(),
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
    }
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
