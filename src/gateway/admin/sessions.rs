//! Sessions: this gateway's own, and, where there are several, those of the others.

use tonic::{Request, Response, Status};
use warren_core::id::AgentId;
use warren_wire::v1::{
    ListSessionsRequest, ListSessionsResponse, Session, ShowSessionRequest, sessions_server::Sessions,
};

use super::{
    Api,
    error::Problem,
    everywhere::{Asked, Missing},
};
use crate::sessions::SessionFilter;

mod all;
mod convert;
mod id;

use id::SessionId;

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
        let sessions = records.into_iter().map(|record| self.context.shown(record, &groups)).collect();
        let total_open = u64::try_from(open).unwrap_or(u64::MAX);
        let mut list = ListSessionsResponse { sessions, total_open, missing: Vec::new() };
        if let Some(others) = others {
            let hear = |gateway, theirs| all::join(&mut list, gateway, theirs, filter.limit);
            let missing = self.ask_every(&others, &asked, hear).await?;
            list.missing = all::told(missing);
        }
        Ok(Response::new(list))
    }

    async fn show(&self, request: Request<ShowSessionRequest>) -> Result<Response<Session>, Status> {
        let others = Asked::of(&request);
        let asked = request.into_inner();
        let here = self.context.gateway;
        let (own, elsewhere) = match asked.id.parse()? {
            SessionId::Number { number, at } if at.is_none_or(|at| at == here) => {
                (self.context.sessions.get(number), None)
            }
            SessionId::Number { number, at } => (None, Some((number.to_string(), at))),
            SessionId::Trace(trace) => {
                (self.context.sessions.of_trace(trace), Some((asked.id.clone(), None)))
            }
        };
        let mut found = None;
        if let Some(own) = own {
            let groups = self.context.store.groups().await.map_err(Problem::from)?;
            found = Some(self.context.shown(own, &groups));
        }
        let tells_all = found.as_ref().is_some_and(|session| !session.attempts.is_empty());
        let mut missing = Missing::new();
        if let (Some(others), Some((id, at)), false) = (others, elsewhere, tells_all) {
            let hear =
                |gateway, theirs| found = Some(all::better(found.take(), convert::named(theirs, gateway)));
            let request = ShowSessionRequest { id };
            missing = match at {
                Some(gateway) => self.ask_one(&others, &request, gateway, hear).await,
                None => self.ask_every(&others, &request, hear).await?,
            };
        }
        found.map(Response::new).ok_or_else(|| all::not_found(&asked.id, &missing).into())
    }
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

    /// An id is taken as it is: sessions of an agent that is gone are still remembered.
    async fn member_filter(&self, text: &str) -> Result<Option<AgentId>, Problem> {
        match (text, text.parse()) {
            ("", _) => Ok(None),
            (_, Ok(id)) => Ok(Some(id)),
            (name, Err(_)) => Ok(Some(self.find_agent(name).await?.id)),
        }
    }
}
