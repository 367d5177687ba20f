//! A site of one agent: a real tunnel and the real group state machine; only the log under it is left out.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::{
    io::duplex,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, transport::Server};
use warren_core::{
    id::{AgentId, GroupId},
    state::{Command, GroupState, Proposal, RequestId},
    view::{GroupView, Role},
};
use warren_identity::PeerIdentity;
use warren_tunnel::{Budget, CloseReason, Handle, Hello, OpenResult, SessionKind, echo};
use warren_wire::{
    convert::{self, Asked},
    v1::{
        EnrolResponse, Failed, GroupSnapshot, HistoryRequest, HistoryResponse, ProposeRequest,
        ProposeResponse, Refused, SelfReport, WatchRequest,
        control_server::{Control, ControlServer},
        propose_response::Outcome,
    },
};

use super::world::World;

pub(crate) struct Site {
    pub(crate) group: GroupId,
    pub(crate) agent: AgentId,
    pub(crate) identity: PeerIdentity,
    member: Member,
    handle: Handle,
}

#[derive(Clone)]
struct Member {
    view: watch::Sender<GroupView>,
    authors: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Brings the agent's tunnel up, and waits until the gateway has seen its group.
    pub(super) async fn start(world: &World, enrolled: &EnrolResponse) -> Self {
        let leaf = CertificateDer::from_pem_slice(enrolled.certificate.as_bytes()).unwrap();
        let identity = PeerIdentity::from_leaf(&leaf, SystemTime::now()).unwrap();
        let (group, agent) = (identity.group, identity.agent);
        let member = Member::new(agent);
        let (ours, theirs) = duplex(256 << 10);
        let (config, budget) = (warren_tunnel::Config::default(), Budget::new(64 << 20));
        let (handle, driver) = warren_tunnel::run(
            ours,
            Default::default(),
            warren_tunnel::Role::Agent,
            config.clone(),
            Hello::new(1, 1, 0),
            &budget,
        );
        tokio::spawn(driver);
        let (gateway, driver) = warren_tunnel::run(
            theirs,
            Default::default(),
            warren_tunnel::Role::Gateway,
            config,
            Hello::new(2, 1, 0),
            &budget,
        );
        tokio::spawn(driver);
        tokio::spawn(serve(handle.clone(), member.clone()));
        let (tunnels, known) = (world.tunnels.clone(), identity.clone());
        tokio::spawn(async move { tunnels.attend(gateway, known).await });
        let seen = async {
            while world.context.registry.group(group).and_then(|group| group.view.clone()).is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), seen).await.expect("the gateway sees the group");
        Self { group, agent, identity, member, handle }
    }

    pub(crate) fn lose_quorum(&self) {
        self.member.view.send_modify(|view| view.quorum = false);
    }

    pub(crate) fn regain_quorum(&self) {
        self.member.view.send_modify(|view| view.quorum = true);
    }

    /// Takes another agent in.
    pub(crate) fn join(&self, member: AgentId) {
        let peer_address = "10.0.0.2:7400".into();
        let command = Command::Join { member, name: "second".into(), peer_address, version: "1.0".into() };
        let proposal = Proposal { request: RequestId(1), author: "agent".into(), at_ms: 1, command };
        self.member.view.send_modify(|view| {
            Arc::make_mut(&mut view.state).apply(&proposal).unwrap();
            view.applied += 1;
        });
    }

    /// Who asked for the changes that were applied, in order.
    pub(crate) fn authors(&self) -> Vec<String> {
        self.member.authors.lock().unwrap().clone()
    }

    /// Ends its tunnel.
    pub(crate) async fn stop(&self) {
        self.handle.close(CloseReason::Shutdown, "agent stops");
        self.closed().await;
    }

    /// Waits until the gateway has closed the tunnel.
    pub(crate) async fn closed(&self) {
        timeout(Duration::from_secs(5), self.handle.closed()).await.expect("the tunnel is closed");
    }
}

impl Member {
    fn new(agent: AgentId) -> Self {
        let mut state = GroupState::default();
        let command = Command::Join {
            member: agent,
            name: "first".into(),
            peer_address: "10.0.0.1:7400".into(),
            version: "1.0".into(),
        };
        let proposal = Proposal { request: RequestId(0), author: "agent".into(), at_ms: 1, command };
        state.apply(&proposal).unwrap();
        let view = GroupView {
            leader: Some(agent),
            term: 1,
            quorum: true,
            roles: BTreeMap::from([(agent, Role::Voter)]),
            last_log: 1,
            committed: 1,
            applied: 1,
            epoch: 1,
            ..GroupView::new(agent, Arc::new(state))
        };
        Self { view: watch::Sender::new(view), authors: Arc::default() }
    }

    fn decide(&self, request: &ProposeRequest) -> Outcome {
        if !self.view.borrow().quorum {
            let message = "no quorum: 1 of 3 voters in touch".into();
            return Outcome::Failed(Failed { reason: "no_quorum".into(), message, unsure: false });
        }
        let request = convert::read_request(request).unwrap();
        let command = match request.command {
            Asked::Command(command) => command,
            Asked::RemoveMember(member) => Command::Leave { member },
        };
        let proposal = Proposal { request: request.id, author: request.author.clone(), at_ms: 2, command };
        let mut outcome = None;
        self.view.send_modify(|view| {
            outcome = Some(Arc::make_mut(&mut view.state).apply(&proposal));
            view.applied += 1;
        });
        match outcome.unwrap() {
            Ok(accepted) => {
                self.authors.lock().unwrap().push(request.author);
                Outcome::Revision(accepted.revision)
            }
            Err(refusal) => {
                Outcome::Refused(Refused { reason: refusal.reason().into(), message: refusal.to_string() })
            }
        }
    }
}

#[tonic::async_trait]
impl Control for Member {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<GroupSnapshot, Status>> + Send>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let views = WatchStream::new(self.view.subscribe());
        let snapshots = views.map(|view| Ok(convert::snapshot(&view, SelfReport::default())));
        Ok(Response::new(Box::pin(snapshots)))
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        let outcome = Some(self.decide(request.get_ref()));
        Ok(Response::new(ProposeResponse { outcome }))
    }

    async fn history(&self, _request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let state = self.view.borrow().state.clone();
        let entries = state.history.iter().rev().map(convert::history_entry).collect();
        Ok(Response::new(HistoryResponse { entries }))
    }
}

async fn serve(handle: Handle, member: Member) {
    while let Some(incoming) = handle.accept().await {
        match incoming.request().kind {
            SessionKind::Echo => {
                tokio::spawn(echo::serve_echo(incoming.accept()));
            }
            SessionKind::Control => {
                let session = tokio_stream::once(Ok::<_, std::io::Error>(incoming.accept()));
                let served = Server::builder()
                    .add_service(ControlServer::new(member.clone()))
                    .serve_with_incoming(session);
                tokio::spawn(served);
            }
            SessionKind::Resource => incoming.refuse(OpenResult::Refused, "nothing is behind this site"),
        }
    }
}
