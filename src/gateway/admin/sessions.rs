//! Sessions: this gateway's own, and, where there are several, those of the others.

use std::{
    cmp::Reverse,
    str::FromStr,
    time::{Duration, SystemTime},
};

use tonic::{Code, Request, Response, Status};
use warren_core::{
    balance::CandidateRecord,
    id::{AgentId, GatewayId},
    trace::TraceId,
};
use warren_wire::v1::{
    Attempt, Candidate, ListSessionsRequest, ListSessionsResponse, Session, ShowSessionRequest,
    sessions_server::Sessions,
};

use super::{Api, error::Problem, everywhere::Asked};
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
        let others = Asked::of(&request);
        let asked = request.into_inner();
        let filter = self.session_filter(&asked).await?;
        let groups = self.context.store.groups().await.map_err(Problem::from)?;
        let (records, open) = self.context.sessions.list(&filter);
        let sessions = records.into_iter().map(|record| self.shown(record, &groups)).collect();
        let total_open = u64::try_from(open).unwrap_or(u64::MAX);
        let mut list = ListSessionsResponse { sessions, total_open, silent: Vec::new() };
        if let Some(others) = others {
            let mut silent = self.context.neighbours.known();
            for (gateway, theirs) in self.ask_all(&others, &asked).await {
                silent.remove(&gateway);
                join(&mut list, theirs, filter.limit);
            }
            list.silent = silent.into_iter().map(|gateway| gateway.to_string()).collect();
        }
        Ok(Response::new(list))
    }

    async fn show(&self, request: Request<ShowSessionRequest>) -> Result<Response<Session>, Status> {
        let others = Asked::of(&request);
        let asked = request.into_inner();
        let id: SessionId = asked.id.parse()?;
        let record = match id {
            SessionId::Number { number, at } if at.is_none_or(|at| at == self.context.gateway) => {
                self.context.sessions.get(number)
            }
            SessionId::Number { .. } => None,
            SessionId::Trace(trace) => self.context.sessions.of_trace(trace),
        };
        if let Some(record) = record {
            let groups = self.context.store.groups().await.map_err(Problem::from)?;
            return Ok(Response::new(self.shown(record, &groups)));
        }
        let found = match others.filter(|_| !id.is_at(self.context.gateway)) {
            Some(others) => self.ask_all::<_, Session>(&others, &asked).await.into_iter().next(),
            None => None,
        };
        match (found, id) {
            (Some((_, session)), _) => Ok(Response::new(session)),
            (None, SessionId::Number { at: Some(at), .. }) if !self.hears(at) => Err(unheard(at).into()),
            (None, _) => Err(Problem::unknown("session", &asked.id).into()),
        }
    }
}

/// How a session is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionId {
    /// One of a gateway: of the one that is asked, if none is named.
    Number {
        number: u64,
        at: Option<GatewayId>,
    },
    Trace(TraceId),
}

impl SessionId {
    /// Whether no other gateway can know it.
    fn is_at(self, here: GatewayId) -> bool {
        matches!(self, Self::Number { at, .. } if at.is_none_or(|at| at == here))
    }
}

impl FromStr for SessionId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if let Ok(trace) = text.parse() {
            return Ok(Self::Trace(trace));
        }
        let (number, at) = match text.split_once('@') {
            Some((number, at)) => (number, Some(at)),
            None => (text, None),
        };
        match (number.parse(), at.map(str::parse).transpose()) {
            (Ok(number), Ok(at)) => Ok(Self::Number { number, at }),
            _ => Err(Problem::invalid(format!(
                "`{text}` is neither the id of a session, NUMBER or NUMBER@GATEWAY, nor a trace"
            ))),
        }
    }
}

/// Adds what another gateway has, so that at most `limit` are left.
fn join(list: &mut ListSessionsResponse, theirs: ListSessionsResponse, limit: usize) {
    list.sessions.extend(theirs.sessions);
    list.total_open += theirs.total_open;
    let place = |session: &Session| match session.closed_ms {
        0 => (false, Reverse(session.opened_ms)),
        closed => (true, Reverse(closed)),
    };
    list.sessions.sort_by_key(place);
    list.sessions.truncate(limit);
}

fn unheard(gateway: GatewayId) -> Problem {
    let message = format!("{gateway} does not answer, or there is no such gateway");
    Problem::new(Code::Unavailable, "unreachable", message)
}

impl Api {
    async fn session_filter(&self, asked: &ListSessionsRequest) -> Result<SessionFilter, Problem> {
        Ok(SessionFilter {
            group: match asked.group.as_str() {
                "" => None,
                text => Some(self.find_group(text).await?.id),
            },
            resource: match asked.resource.as_str() {
                "" => None,
                text => Some(text.parse()?),
            },
            member: self.member_filter(&asked.member).await?,
            ended: asked.all,
            limit: match usize::try_from(asked.limit).unwrap_or(usize::MAX) {
                0 => LIMIT_DEFAULT,
                limit => limit.min(LIMIT_MAX),
            },
        })
    }

    fn shown(&self, record: SessionRecord, groups: &[GroupRecord]) -> Session {
        let gateway = self.context.gateway.to_string();
        let number = record.id;
        let id = if self.context.neighbours.is_alone() {
            number.to_string()
        } else {
            format!("{number}@{gateway}")
        };
        let group = groups.iter().find(|group| group.id == record.group);
        Session {
            id,
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
            gateway,
            trace: TraceId(record.trace).to_string(),
        }
    }

    fn hears(&self, gateway: GatewayId) -> bool {
        self.context.neighbours.all().iter().any(|other| other.gateway == gateway)
    }

    /// An id is taken as it is: sessions of an agent that is gone are still remembered.
    async fn member_filter(&self, text: &str) -> Result<Option<AgentId>, Problem> {
        match (text, text.parse()) {
            ("", _) => Ok(None),
            (_, Ok(id)) => Ok(Some(id)),
            (name, Err(_)) => Ok(Some(self.find_agent(name).await?.id)),
        }
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
