//! Enrolment: how a stranger with a token becomes an agent, renews its certificate and meets its group.
//!
//! This is the one surface that anybody on the network can reach, so each call is bounded in rate and time before it
//! gets here, and in size before anything is spent on it. Every refusal has a word in `warren-reason`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::Rng;
use tonic::{Code, Request, Response, Status};
use tracing::{debug, info};
use warren_core::id::{AgentId, Name};
use warren_identity::{
    AgentRequest, Authority, AuthorityError, IdentityError, IssuedCertificate, PeerIdentity, TokenError,
    TokenKey,
};
use warren_tunnel::CloseReason;
use warren_wire::v1::{
    EnrolRequest, EnrolResponse, IntroduceRequest, IntroduceResponse, LeaveRequest, LeaveResponse,
    RenewRequest, RenewResponse,
    enrolment_server::{Enrolment, EnrolmentServer},
    introduce_response::Peer,
};

use crate::{
    admin::{
        Caller, Context, audit,
        error::{Problem, causes},
        now_s,
    },
    metrics::refused_call,
    registry::Registry,
    store::{AgentRecord, EnrolRefusal, NewAgent, Store},
};

/// The largest enrolment request, in bytes: a token and a certificate request with room to spare.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024;

const NAME_BYTES_MAX: usize = 253;
const VERSION_BYTES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 270;

/// Implements `Enrolment`.
#[derive(Debug)]
pub struct EnrolmentService {
    store: Arc<dyn Store>,
    registry: Registry,
    authority: Arc<Authority>,
    tokens: Arc<TokenKey>,
    certificate_lifetime: Duration,
}

impl EnrolmentService {
    pub fn new(context: &Context) -> Self {
        Self {
            store: context.store.clone(),
            registry: context.registry.clone(),
            authority: context.authority.clone(),
            tokens: context.tokens.clone(),
            certificate_lifetime: context.config.certificate_lifetime,
        }
    }

    pub(crate) fn into_server(self) -> EnrolmentServer<Self> {
        EnrolmentServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn enrol(&self, asked: EnrolRequest, from: SocketAddr) -> Result<EnrolResponse, Problem> {
        let now = SystemTime::now();
        let claims = self.tokens.verify(&asked.token, now).map_err(token_problem)?;
        let request = AgentRequest::parse(&asked.csr).map_err(request_problem)?;
        let newcomer = NewAgent {
            id: AgentId::from_random(rand::rng().random()),
            group: claims.group,
            name: agent_name(&asked.name)?,
            version: short(asked.version, VERSION_BYTES_MAX),
            key_hash: request.key_hash(),
        };
        // Whoever holds a token that we signed is worth an entry; others could only flood the book.
        let who = format!("token {}", claims.id);
        let enrolled = match self.store.enrol(&newcomer, claims.id, now_s()).await? {
            Ok(enrolled) => enrolled,
            Err(refusal) => {
                let problem = refusal_problem(refusal);
                audit::write(&*self.store, &who, "agents.enrol", newcomer.name.as_str(), &problem.message)
                    .await;
                return Err(problem);
            }
        };
        let issued = self.issue(&request, enrolled.group.id, enrolled.agent).await?;
        let (agent, group) = (enrolled.agent, enrolled.group);
        info!(%agent, group = group.label(), name = %newcomer.name, %from, again = enrolled.again, "agent enrolled");
        audit::write(&*self.store, &who, "agents.enrol", &format!("{agent} {}", newcomer.name), "ok").await;
        Ok(EnrolResponse {
            agent_id: agent.to_string(),
            group_id: group.id.to_string(),
            group_name: group.label(),
            not_after_s: seconds(issued.validity.not_after),
            certificate: issued.pem,
            bundle: self.authority.bundle_pem(),
        })
    }

    async fn renew(&self, asked: RenewRequest, identity: &PeerIdentity) -> Result<RenewResponse, Problem> {
        let request = AgentRequest::parse(&asked.csr).map_err(request_problem)?;
        let agent = self.known(identity).await?;
        let issued = self.issue(&request, agent.group, agent.id).await?;
        debug!(agent = %agent.id, serial = issued.serial, "certificate renewed");
        Ok(RenewResponse {
            not_after_s: seconds(issued.validity.not_after),
            certificate: issued.pem,
            bundle: self.authority.bundle_pem(),
        })
    }

    async fn introduce(
        &self,
        asked: IntroduceRequest,
        identity: &PeerIdentity,
    ) -> Result<IntroduceResponse, Problem> {
        check_address(&asked.peer_address)?;
        let agent = self.known(identity).await?;
        self.store.set_peer_address(agent.id, &asked.peer_address).await?;
        let found = if asked.has_log {
            // Also of a group that began on site, without asking here: nobody may found it a second time.
            self.store.mark_founded(agent.group).await?;
            false
        } else {
            self.store.claim_founder(agent.group, agent.id).await?
        };
        if found {
            info!(agent = %agent.id, group = %agent.group, "agent founds its group");
            let subject = format!("{} {}", agent.group, agent.id);
            audit::write(&*self.store, &format!("agent {}", agent.id), "groups.found", &subject, "ok").await;
        }
        let others = self.store.agents(Some(agent.group)).await?.into_iter().filter(|other| {
            other.id != agent.id && other.revoked_s.is_none() && !other.peer_address.is_empty()
        });
        let peers = others.map(|other| Peer { id: other.id.to_string(), address: other.peer_address });
        Ok(IntroduceResponse { found, peers: peers.collect() })
    }

    /// Should its group still count it, it is asked to let it go as one that people have revoked.
    async fn leave(&self, identity: &PeerIdentity) -> Result<LeaveResponse, Problem> {
        let agent = self.known(identity).await?;
        self.store.revoke_agent(agent.id, now_s()).await?;
        self.registry.cut_agent(agent.id, CloseReason::Revoked);
        info!(agent = %agent.id, group = %agent.group, name = %agent.name, "agent has left, its identity is revoked");
        let subject = format!("{} {}", agent.id, agent.name);
        audit::write(&*self.store, &format!("agent {}", agent.id), "agents.leave", &subject, "ok").await;
        Ok(LeaveResponse {})
    }

    /// The record behind a client certificate; only the store knows whether it may still come.
    async fn known(&self, identity: &PeerIdentity) -> Result<AgentRecord, Problem> {
        identity.check(SystemTime::now()).map_err(unidentified)?;
        let agent = self.store.agent(identity.agent).await?.filter(|agent| agent.group == identity.group);
        let Some(agent) = agent else {
            let message =
                format!("{} is not known to this gateway's store, it must enrol again", identity.agent);
            return Err(Problem::new(Code::PermissionDenied, "unknown_agent", message));
        };
        if agent.revoked_s.is_some() { Err(revoked(agent.id)) } else { Ok(agent) }
    }

    async fn issue(
        &self,
        request: &AgentRequest,
        group: warren_core::id::GroupId,
        agent: AgentId,
    ) -> Result<IssuedCertificate, Problem> {
        let issued = self
            .authority
            .issue_agent(request, group, agent, SystemTime::now(), self.certificate_lifetime)
            .map_err(request_problem)?;
        let recorded =
            self.store.renew_agent(agent, &issued.serial, seconds(issued.validity.not_after)).await?;
        // Revoked in between: the certificate never leaves.
        if recorded { Ok(issued) } else { Err(revoked(agent)) }
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let from = caller(&request)?.address;
        match Self::enrol(self, request.into_inner(), from).await {
            Ok(enrolled) => Ok(Response::new(enrolled)),
            Err(problem) => {
                refused_call(&problem.reason);
                debug!(%from, reason = &*problem.reason, message = problem.message, "enrolment refused");
                Err(problem.into())
            }
        }
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let identity = identified(caller(&request)?)?;
        Ok(Response::new(Self::renew(self, request.into_inner(), &identity).await?))
    }

    async fn introduce(
        &self,
        request: Request<IntroduceRequest>,
    ) -> Result<Response<IntroduceResponse>, Status> {
        let identity = identified(caller(&request)?)?;
        Ok(Response::new(Self::introduce(self, request.into_inner(), &identity).await?))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let identity = identified(caller(&request)?)?;
        Ok(Response::new(Self::leave(self, &identity).await?))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let missing = || Problem::new(Code::Internal, "no_caller", "request came without its caller's address");
    request.extensions().get().cloned().ok_or_else(missing)
}

fn identified(caller: Caller) -> Result<PeerIdentity, Problem> {
    caller.identity.map_err(unidentified)
}

fn unidentified(error: IdentityError) -> Problem {
    Problem::new(Code::Unauthenticated, error.reason(), error.to_string())
}

fn token_problem(error: TokenError) -> Problem {
    let code = match error {
        TokenError::Malformed | TokenError::TwoOwners | TokenError::WrongAudience => Code::InvalidArgument,
        _ => Code::PermissionDenied,
    };
    Problem::new(code, error.reason(), error.to_string())
}

fn request_problem(error: AuthorityError) -> Problem {
    match error {
        AuthorityError::RequestTooLarge | AuthorityError::Request { .. } | AuthorityError::RequestKey => {
            Problem::new(Code::InvalidArgument, "csr_invalid", error.to_string())
        }
        other => {
            tracing::error!(error = causes(&other), "cannot issue a certificate");
            Problem::new(
                Code::Unavailable,
                "authority_failed",
                "gateway cannot issue certificates, its log says why",
            )
        }
    }
}

fn refusal_problem(refusal: EnrolRefusal) -> Problem {
    let reason = match refusal {
        EnrolRefusal::UnknownToken => "token_unknown",
        EnrolRefusal::GroupGone => "group_gone",
        EnrolRefusal::Revoked => "token_revoked",
        EnrolRefusal::Rotated => "token_rotated",
        EnrolRefusal::Expired => "token_expired",
        EnrolRefusal::UsedUp => "token_used_up",
        EnrolRefusal::AgentRevoked => "revoked",
    };
    Problem::new(Code::PermissionDenied, reason, refusal.to_string())
}

fn revoked(agent: AgentId) -> Problem {
    Problem::new(Code::PermissionDenied, "revoked", format!("{agent} was revoked"))
}

fn agent_name(asked: &str) -> Result<Name, Problem> {
    if asked.len() > NAME_BYTES_MAX {
        return Err(Problem::invalid("agent's name is too long"));
    }
    Ok(Name::slug(asked)?)
}

/// Other members dial it, so it must at least look like `host:port`.
fn check_address(address: &str) -> Result<(), Problem> {
    let wrong = || {
        Problem::invalid(format!(
            "`{}` is not a peer address, expected HOST:PORT",
            short(address.to_owned(), 80)
        ))
    };
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(wrong());
    }
    address.parse::<warren_core::destination::Target>().map(|_| ()).map_err(|_| wrong())
}

fn short(mut text: String, bytes_max: usize) -> String {
    let end =
        (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    text.truncate(end);
    text
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
