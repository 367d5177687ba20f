//! What no gateway knows alone. Of lists over all groups, what one says of a group without a tunnel there is taken from a
//! gateway that has one; sessions are known where their callers came to, and where they were passed on to.
//!
//! Each other gateway is asked once, all at the same time, whatever the number of groups. Who does not answer soon is left
//! out: then the list shows what is known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    body::{Bytes, to_bytes},
    http::request::Parts,
    response::Response,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use tokio::time::timeout;
use tonic::Request;
use tracing::debug;
use warren_core::id::{GatewayId, GroupId};
use warren_wire::v1::{Agent, Group, ListAgentsResponse, ListGroupsResponse};

use super::{
    Api,
    elsewhere::{self, ANSWER_BYTES_MAX, FRAME_HEAD},
    error::Problem,
};
use crate::{neighbours::Neighbour, store::GatewayRecord};

/// A list waits no longer for others.
const WITHIN: Duration = Duration::from_secs(3);
/// How a group is called of which nobody takes sessions, by each gateway without a tunnel of it.
const DOWN: &str = "Down";

/// How a list was asked for: goes along with its request, unless another gateway asks.
#[derive(Clone)]
pub(super) struct Asked(pub(super) Parts);

/// Whether a call may be about what other gateways know.
pub(super) fn is_wide(method: &str) -> bool {
    matches!(method.split_once('/'), Some(("Groups" | "Agents", "List") | ("Sessions", _)))
}

/// The gateways that did not tell what they know.
pub(super) type Missing = BTreeMap<GatewayId, Untold>;

/// Why one of them did not.
#[derive(Debug)]
pub(super) struct Untold {
    /// It refused, with this word for programs.
    pub(super) reason: Option<String>,
    /// For people.
    pub(super) why: String,
}

impl Untold {
    fn new(why: impl Into<String>) -> Self {
        Self { reason: None, why: why.into() }
    }

    fn no_tunnel() -> Self {
        Self::new("there is no tunnel to it")
    }

    fn busy() -> Self {
        Self::new("too many calls ask all gateways at once")
    }
}

/// A list, of which whatever belongs to a group can be replaced.
pub(super) trait List: Message + Default {
    type Entry;

    fn entries(&mut self) -> &mut Vec<Self::Entry>;
    fn group(entry: &Self::Entry) -> &str;
    /// Only a gateway with a tunnel of the group says so.
    fn is_seen(entry: &Self::Entry) -> bool;
}

impl List for ListGroupsResponse {
    type Entry = Group;

    fn entries(&mut self) -> &mut Vec<Group> {
        &mut self.groups
    }

    fn group(entry: &Group) -> &str {
        &entry.id
    }

    fn is_seen(entry: &Group) -> bool {
        entry.state != DOWN
    }
}

impl List for ListAgentsResponse {
    type Entry = Agent;

    fn entries(&mut self) -> &mut Vec<Agent> {
        &mut self.agents
    }

    fn group(entry: &Agent) -> &str {
        &entry.group
    }

    fn is_seen(entry: &Agent) -> bool {
        entry.tunnels > 0
    }
}

impl Api {
    /// Completes `list`, the answer to a request for all of them, for the groups that are `unseen` here.
    pub(super) async fn complete<M: Message, L: List>(
        &self,
        asked: Option<Asked>,
        request: &M,
        mut unseen: BTreeSet<String>,
        list: &mut L,
    ) {
        let Some(asked) = asked.filter(|_| !unseen.is_empty()) else { return };
        let others = self.context.neighbours.all();
        self.ask(&asked, request, others, |_, answer| take_over(list, answer, &mut unseen)).await;
    }

    /// Asks every other gateway the same, gives what they answer to `hear`, and tells who did not.
    pub(super) async fn ask_every<M: Message, A: Message + Default>(
        &self,
        asked: &Asked,
        request: &M,
        hear: impl FnMut(GatewayId, A),
    ) -> Result<Missing, Problem> {
        let records = self.context.store.gateways().await?.into_iter();
        let serving = records.filter(GatewayRecord::is_alive).map(|record| record.id);
        let mut missing: Missing =
            serving.filter(|id| *id != self.context.gateway).map(|id| (id, Untold::no_tunnel())).collect();
        let others = self.context.neighbours.hearing();
        missing.retain(|id, _| others.iter().all(|other| other.gateway != *id));
        missing.extend(self.ask(asked, request, others, hear).await);
        Ok(missing)
    }

    /// The same of one.
    pub(super) async fn ask_one<M: Message, A: Message + Default>(
        &self,
        asked: &Asked,
        request: &M,
        gateway: GatewayId,
        hear: impl FnMut(GatewayId, A),
    ) -> Missing {
        let mut others = self.context.neighbours.hearing();
        others.retain(|other| other.gateway == gateway);
        if others.is_empty() {
            return Missing::from([(gateway, Untold::no_tunnel())]);
        }
        self.ask(asked, request, others, hear).await
    }

    async fn ask<M: Message, A: Message + Default>(
        &self,
        Asked(head): &Asked,
        request: &M,
        others: Vec<Neighbour>,
        mut hear: impl FnMut(GatewayId, A),
    ) -> Missing {
        let Ok(_turn) = timeout(WITHIN, self.context.neighbours.wide()).await else {
            return others.into_iter().map(|other| (other.gateway, Untold::busy())).collect();
        };
        let body = framed(request);
        let mut answers: FuturesUnordered<_> =
            others.into_iter().map(|other| ask(other, head, body.clone())).collect();
        let mut missing = Missing::new();
        while let Some((gateway, answer)) = answers.next().await {
            match answer {
                Ok(answer) => hear(gateway, answer),
                Err(untold) => {
                    debug!(%gateway, why = untold.why, "another gateway did not tell what it knows");
                    missing.insert(gateway, untold);
                }
            }
        }
        missing
    }

    /// Whether what is known of a group here comes from no member of it.
    pub(super) fn is_unseen(&self, group: GroupId) -> bool {
        !self.context.registry.has_tunnels(group)
    }
}

/// Each group is kept where it stands.
fn take_over<L: List>(list: &mut L, mut other: L, unseen: &mut BTreeSet<String>) {
    let mut theirs = BTreeMap::<String, Vec<L::Entry>>::new();
    for entry in std::mem::take(other.entries()) {
        theirs.entry(L::group(&entry).to_owned()).or_default().push(entry);
    }
    theirs.retain(|group, entries| unseen.contains(group) && entries.iter().any(L::is_seen));
    unseen.retain(|group| !theirs.contains_key(group));
    let taken: BTreeSet<_> = theirs.keys().cloned().collect();
    for entry in std::mem::take(list.entries()) {
        match theirs.remove(L::group(&entry)) {
            Some(better) => list.entries().extend(better),
            None if taken.contains(L::group(&entry)) => {}
            None => list.entries().push(entry),
        }
    }
}

async fn ask<A: Message + Default>(
    other: Neighbour,
    head: &Parts,
    body: Bytes,
) -> (GatewayId, Result<A, Untold>) {
    let answer = async {
        let answer = elsewhere::ask(&other.tunnel, head, body).await;
        read(answer.map_err(|error| Untold::new(error.to_string()))?).await
    };
    let slow = |_| Err(Untold::new(format!("no answer within {} s", WITHIN.as_secs())));
    (other.gateway, timeout(WITHIN, answer).await.unwrap_or_else(slow))
}

async fn read<A: Message + Default>(answer: Response) -> Result<A, Untold> {
    let reason = elsewhere::reason_of(&answer).map(str::to_owned);
    let unfit = |error: &dyn std::error::Error| Untold::new(error.to_string());
    let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.map_err(|error| unfit(&error))?;
    let Some(message) = body.get(FRAME_HEAD..) else {
        let why = format!("it refused to tell: {}", reason.as_deref().unwrap_or("no reason given"));
        return Err(Untold { reason, why });
    };
    A::decode(message).map_err(|error| unfit(&error))
}

/// As gRPC sends it: not compressed, and its length.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(message);
    frame.into()
}

impl Asked {
    /// `None` when no others are to be asked.
    pub(super) fn of<M>(request: &Request<M>) -> Option<Self> {
        request.extensions().get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(group: &str, name: &str, tunnels: u32) -> Agent {
        Agent { group: group.into(), name: name.into(), tunnels, ..Agent::default() }
    }

    #[test]
    fn only_groups_that_others_see_are_taken_over() {
        let mut list = ListAgentsResponse {
            agents: vec![
                agent("a", "here", 1),
                agent("b", "one", 0),
                agent("b", "two", 0),
                agent("c", "no", 0),
            ],
        };
        let other = ListAgentsResponse {
            agents: vec![
                agent("a", "there", 2),
                agent("b", "one", 2),
                agent("b", "new", 0),
                agent("c", "not", 0),
            ],
        };
        let mut unseen = BTreeSet::from(["b".to_owned(), "c".to_owned()]);
        take_over(&mut list, other, &mut unseen);
        let expected =
            [agent("a", "here", 1), agent("b", "one", 2), agent("b", "new", 0), agent("c", "no", 0)];
        assert_eq!(list.agents, expected);
        assert_eq!(unseen, BTreeSet::from(["c".to_owned()]));
    }
}
