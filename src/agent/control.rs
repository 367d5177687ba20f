//! The control rpc that a gateway speaks over an internal session of a tunnel: what the group looks like from here,
//! and changes asked of it.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{interval_at, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};
use warren_core::{state::Answer, view::GroupView, vitals::Vitals};
use warren_group::{Group, ProposeError};
use warren_wire::{
    convert::{self, Asked},
    v1::{
        self,
        control_server::{Control, ControlServer},
    },
};

use crate::{cloud::causes, identity::Identity, membership::current_view, proof::Proof, vitals};

/// Changes that come this close together are told as one.
const COALESCE: Duration = Duration::from_millis(50);
/// The snapshot is told again after this long even when nothing changed, with a fresh self report.
const REPEAT: Duration = Duration::from_secs(5);
/// What a proposal may take when the gateway does not say, and at most.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How long an accepted change may take to show here before it is answered all the same.
const SHOWN_WITHIN: Duration = Duration::from_millis(500);
/// Longer names of authors are cut.
const AUTHOR_BYTES_MAX: usize = 128;

/// What the control rpc of every tunnel speaks of. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    group: Group,
    identity: Arc<Identity>,
    sessions: watch::Receiver<usize>,
    vitals: watch::Receiver<Vitals>,
    begun: Instant,
}

impl Desk {
    pub(crate) fn new(
        group: Group,
        identity: Arc<Identity>,
        sessions: watch::Receiver<usize>,
        vitals: watch::Receiver<Vitals>,
    ) -> Self {
        Self { group, identity, sessions, vitals, begun: Instant::now() }
    }

    /// Begins to serve one gateway, for as long as the session lasts. `proof` is given when the gateway watches: by then
    /// the tunnel has carried data both ways.
    pub(crate) async fn serve<S>(self, session: S, proof: Proof)
    where
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let service = ControlServer::new(Service { desk: self, proof });
        // The server gives each connection a task of its own and returns when no other comes.
        let sessions = tokio_stream::once(Ok::<_, std::io::Error>(session));
        if let Err(error) = Server::builder().add_service(service).serve_with_incoming(sessions).await {
            tracing::debug!(error = causes(&error), "control session not served");
        }
    }

    fn report(&self) -> v1::SelfReport {
        let expires = self.identity.validity().ok();
        let expires = expires.and_then(|validity| validity.not_after.duration_since(UNIX_EPOCH).ok());
        let mut report = v1::SelfReport {
            resident_bytes: vitals::resident_bytes(),
            sessions: u32::try_from(*self.sessions.borrow()).unwrap_or(u32::MAX),
            uptime_s: self.begun.elapsed().as_secs(),
            certificate_expires_s: expires.unwrap_or_default().as_secs(),
            ..Default::default()
        };
        convert::tell_vitals(&mut report, &self.vitals.borrow());
        report
    }

    /// Tells snapshots until the gateway or the group is gone.
    async fn tell(self, snapshots: mpsc::Sender<Result<v1::GroupSnapshot, Status>>) {
        let mut views = self.group.watch();
        let mut repeat = interval_at(tokio::time::Instant::now() + REPEAT, REPEAT);
        loop {
            // Room first, so that a gateway that reads slowly gets the newest view and not a queue of old ones.
            let Ok(room) = snapshots.reserve().await else { return };
            let view: Arc<GroupView> = views.borrow_and_update().clone();
            room.send(Ok(convert::snapshot(&view, self.report())));
            drop(view);
            tokio::select! {
                changed = views.changed() => match changed {
                    Ok(()) => sleep(COALESCE).await,
                    Err(_) => return,
                },
                _ = repeat.tick() => {}
                () = snapshots.closed() => return,
            }
        }
    }
}

/// One tunnel's control service.
#[derive(Debug)]
struct Service {
    desk: Desk,
    proof: Proof,
}

#[tonic::async_trait]
impl Control for Service {
    type WatchStream = ReceiverStream<Result<v1::GroupSnapshot, Status>>;

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (snapshots, told) = mpsc::channel(1);
        tokio::spawn(self.desk.clone().tell(snapshots));
        self.proof.give();
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        let asked = convert::read_request(request.get_ref())
            .map_err(|error| Status::invalid_argument(causes(&error)))?;
        let within = if asked.timeout.is_zero() { TIMEOUT_DEFAULT } else { asked.timeout.min(TIMEOUT_MAX) };
        let author = author(&asked.author);
        let group = &self.desk.group;
        let answer = match asked.command {
            Asked::Command(command) => group.propose(asked.id, author, command, within).await,
            Asked::RemoveMember(member) => group.remove_member(asked.id, author, member, within).await,
        };
        tracing::info!(request = %asked.id, author, outcome = told(&answer), "proposal from a gateway");
        if let Ok(Ok(accepted)) = &answer {
            // Whoever asks this member next should see what it has just been told.
            let mut views = group.watch();
            let shown = views.wait_for(|view| view.state.revision >= accepted.revision);
            // A member that lags shows it later: the answer counts all the same.
            let _ = timeout(SHOWN_WITHIN, shown).await;
        }
        Ok(Response::new(response(answer)))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let limit = match request.get_ref().limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let view = current_view(&self.desk.group);
        let newest_first = view.state.history.iter().rev().take(limit);
        Ok(Response::new(v1::HistoryResponse { entries: newest_first.map(convert::history_entry).collect() }))
    }
}

fn response(answer: Result<Answer, ProposeError>) -> v1::ProposeResponse {
    use v1::propose_response::Outcome;
    let outcome = match answer {
        Ok(Ok(accepted)) => Outcome::Revision(accepted.revision),
        Ok(Err(refusal)) => Outcome::Refused(v1::Refused {
            reason: refusal.reason().to_owned(),
            message: refusal.to_string(),
        }),
        Err(error) => {
            let unsure = error.may_still_be_applied();
            Outcome::Failed(v1::Failed {
                reason: error.reason().to_owned(),
                message: error.to_string(),
                unsure,
            })
        }
    };
    v1::ProposeResponse { outcome: Some(outcome) }
}

fn told(answer: &Result<Answer, ProposeError>) -> &'static str {
    match answer {
        Ok(Ok(_)) => "accepted",
        Ok(Err(refusal)) => refusal.reason(),
        Err(error) => error.reason(),
    }
}

fn author(text: &str) -> &str {
    let mut end = text.len().min(AUTHOR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if text.is_empty() { "gateway" } else { &text[..end] }
}

#[cfg(test)]
mod tests;
