//! Becoming and staying a member: the gateway says whom to join, the group takes it from there.
//!
//! A member that has the group's log needs nobody to start: it serves at once, and only announces its address again,
//! to the gateway and to the group, when they can be reached.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use warren_core::{
    backoff::Backoff,
    config::Resource,
    id::AgentId,
    state::{Change, Command, Refusal, RequestId},
    view::GroupView,
};
use warren_group::Group;
use warren_wire::v1;

use crate::{
    cloud::{Cloud, CloudError},
    config::App,
};

/// One attempt to join through the members that are known.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);

/// Makes one agent a member and keeps its address known.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) group: Group,
    pub(crate) cloud: Cloud,
    pub(crate) me: AgentId,
    /// For people.
    pub(crate) name: String,
    /// What others are told, `host:port`.
    pub(crate) address: String,
    pub(crate) app: Option<App>,
}

/// Whom the gateway says to turn to.
#[derive(Debug, PartialEq, Eq)]
struct Introduction {
    found: bool,
    peers: Vec<(AgentId, String)>,
}

/// Why an agent is not a member, or not announced.
#[derive(Debug)]
enum Trouble {
    /// Worth another try soon.
    Passing(String),
    /// Somebody has to mend it first.
    Refused(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Passing(why)
    }
}

impl Membership {
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.become_member() => {}
        }
    }

    async fn become_member(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10), Duration::MAX);
        let mut patient = Backoff::new(Duration::from_secs(10), Duration::from_secs(300), Duration::MAX);
        while let Err(trouble) = self.try_once().await {
            let why = match trouble {
                Trouble::Passing(why) => why,
                Trouble::Refused(why) => {
                    let wait = patient.next_wait(rand::random()).max(Duration::from_secs(5));
                    tracing::error!(why, ?wait, "gateway will not have this agent in the group");
                    sleep(wait).await;
                    continue;
                }
            };
            let wait = backoff.next_wait(rand::random()).max(Duration::from_millis(50));
            if is_member(&current_view(&self.group), self.me) {
                // Nobody waits for this: the group works, only an address may be stale.
                tracing::info!(why, ?wait, "not announced yet, will try again");
            } else {
                tracing::warn!(why, ?wait, "not a member yet, will try again");
            }
            sleep(wait).await;
        }
        joined(self.group.watch(), self.me).await;
        tracing::info!(agent = %self.me, address = self.address, "member of the group");
        if let Some(app) = &self.app {
            self.declare(app).await;
        }
    }

    async fn try_once(&self) -> Result<(), Trouble> {
        let has_log = self.group.has_log();
        let introduced = match self.introduce(has_log).await {
            // The gateway's no counts for the group too: one that is revoked does not come back through its peers.
            Err(refused @ CloudError::Refused { .. }) => return Err(Trouble::Refused(refused.to_string())),
            introduced => introduced.map_err(|error| error.to_string()),
        };
        if !has_log {
            let introduction = introduced?;
            if introduction.found {
                tracing::info!("founding the group");
                return self.group.found().await.map_err(|error| Trouble::Passing(error.to_string()));
            }
            if introduction.peers.is_empty() {
                return Err("no other agent of the group has introduced itself yet".to_owned().into());
            }
            return Ok(self.join(&introduction.peers).await?);
        }
        let view = current_view(&self.group);
        if self.is_known(&view) {
            // The group knows us as we are; that the gateway does too only helps newcomers.
            return Ok(introduced.map(|_| ())?);
        }
        // Both know members: the gateway the newest addresses, our own log those of a site without its gateway.
        let mut peers = introduced.map(|introduction| introduction.peers).unwrap_or_default();
        let others = view.state.members.iter().filter(|(id, _)| **id != self.me);
        peers.extend(others.map(|(id, member)| (*id, member.peer_address.clone())));
        // A member that is alone in its group needs nobody for this.
        Ok(self.join(&peers).await?)
    }

    /// Whether the group has this agent's name, address and version.
    fn is_known(&self, view: &GroupView) -> bool {
        view.state.members.get(&self.me).is_some_and(|member| {
            member.peer_address == self.address
                && member.name == self.name
                && member.version == crate::VERSION
        })
    }

    async fn join(&self, peers: &[(AgentId, String)]) -> Result<(), String> {
        self.group.join(peers, JOIN_WITHIN).await.map_err(|error| error.to_string())
    }

    async fn introduce(&self, has_log: bool) -> Result<Introduction, CloudError> {
        let request = v1::IntroduceRequest { peer_address: self.address.clone(), has_log };
        let answer = self.cloud.ask(|mut client| {
            let request = request.clone();
            async move { client.introduce(request).await }
        });
        Ok(read_introduction(answer.await?, self.me))
    }

    /// Puts the quick start's resource into the group's config, unless it is there. What people have set beside the
    /// target stays.
    async fn declare(&self, app: &App) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), Duration::MAX);
        loop {
            let view = current_view(&self.group);
            let Some(command) = declaration(&view, app) else { return };
            match self.propose(command).await {
                Ok(Ok(())) => {
                    tracing::info!(resource = %app.name, target = %app.target, "quick start declared");
                }
                // Somebody was faster: look again.
                Ok(Err(Refusal::Stale { .. })) => {}
                Ok(Err(refusal)) => {
                    tracing::error!(resource = %app.name, %refusal, "group will not have the quick start");
                    return;
                }
                Err(why) => tracing::warn!(resource = %app.name, why, "quick start not declared yet"),
            }
            sleep(backoff.next_wait(rand::random()).max(Duration::from_millis(100))).await;
        }
    }

    async fn propose(&self, command: Command) -> Result<Result<(), Refusal>, String> {
        let (author, request) = (format!("agent {}", self.me), RequestId(rand::random()));
        let answer = self.group.propose(request, &author, command, PROPOSE_WITHIN).await;
        answer.map(|answer| answer.map(|_| ())).map_err(|error| error.to_string())
    }
}

/// Resolves once the group counts `me` among its members; for ever pending if the group stops before.
pub(crate) async fn joined(mut view: watch::Receiver<Arc<GroupView>>, me: AgentId) {
    if view.wait_for(|view| is_member(view, me)).await.is_err() {
        std::future::pending().await
    }
}

/// What the member knows at this moment.
pub(crate) fn current_view(group: &Group) -> Arc<GroupView> {
    group.watch().borrow().clone()
}

pub(crate) fn is_member(view: &GroupView, me: AgentId) -> bool {
    view.state.members.contains_key(&me)
}

/// Peers with ids that cannot be read are passed over: another may do.
fn read_introduction(answer: v1::IntroduceResponse, me: AgentId) -> Introduction {
    let peers = answer.peers.into_iter().filter_map(|peer| Some((peer.id.parse().ok()?, peer.address)));
    Introduction { found: answer.found, peers: peers.filter(|(id, _)| *id != me).collect() }
}

/// What to ask of the group so that it has the app's resource; `None` when it has.
fn declaration(view: &GroupView, app: &App) -> Option<Command> {
    let resource = match view.state.config.resources.get(&app.name) {
        Some(known) if known.target == app.target => return None,
        Some(known) => Resource { target: app.target.clone(), ..known.clone() },
        None => app.resource(),
    };
    let change = Change::PutResource { name: app.name.clone(), resource };
    Some(Command::Config { expected: Some(view.state.revision), change })
}

#[cfg(test)]
mod tests {

    use warren_core::{config::Policy, state::GroupState};

    use super::*;

    fn view(state: GroupState) -> GroupView {
        GroupView { epoch: 1, quorum: true, ..GroupView::new(AgentId::from_random(1), Arc::new(state)) }
    }

    #[test]
    fn the_quick_start_is_declared_once_and_keeps_what_people_set() {
        let app = App { name: "db".parse().unwrap(), target: "db.corp:5432".parse().unwrap() };
        let mut state = GroupState::default();
        state.revision = 3;
        let asked = declaration(&view(state.clone()), &app);
        let expected = Command::Config {
            expected: Some(3),
            change: Change::PutResource { name: app.name.clone(), resource: app.resource() },
        };
        assert_eq!(asked, Some(expected));

        let mut known = app.resource();
        (known.policy, known.description) = (Policy::RoundRobin, "ours".into());
        state.config.resources.insert(app.name.clone(), known.clone());
        assert_eq!(declaration(&view(state.clone()), &app), None);

        state.config.resources.get_mut(&app.name).unwrap().target = "old:1".parse().unwrap();
        let Some(Command::Config { change: Change::PutResource { resource, .. }, .. }) =
            declaration(&view(state), &app)
        else {
            panic!("it differs")
        };
        assert_eq!(resource, known);
    }

    #[test]
    fn an_introduction_leaves_out_ourselves_and_what_cannot_be_read() {
        let me = AgentId::from_random(1);
        let peer = |id: String| v1::introduce_response::Peer { id, address: "10.0.0.2:7400".into() };
        let other = AgentId::from_random(2);
        let peers = vec![peer(me.to_string()), peer("??".into()), peer(other.to_string())];
        let read = read_introduction(v1::IntroduceResponse { found: false, peers }, me);
        assert_eq!(read, Introduction { found: false, peers: vec![(other, "10.0.0.2:7400".into())] });
    }
}
