use std::collections::BTreeSet;

use tonic::{Code, Request, Response, Status};
use tracing::info;
use warren_core::state::{Intent, TIER_MAX, WEIGHT_MAX};
use warren_tunnel::CloseReason;
use warren_wire::{
    convert,
    v1::{
        Agent, ChangeResponse, ListAgentsRequest, ListAgentsResponse, RemoveMember, RevokeAgentRequest,
        RevokeAgentResponse, SetAgentIntentRequest, SetAgentTierRequest, SetAgentWeightRequest, SetIntent,
        SetTier, SetWeight, ShowAgentRequest, agents_server::Agents, propose_request::Command,
    },
};

use super::{Api, auth::Actor, clock::now_s, error::Problem, everywhere::Asked, status::Gathered};
use crate::store::{AgentRecord, GroupRecord};

#[tonic::async_trait]
impl Agents for Api {
    async fn list(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        // About one group, the others have been asked before.
        let asked = Asked::of(&request).filter(|_| request.get_ref().group.is_empty());
        let request = request.into_inner();
        let groups = match request.group.as_str() {
            "" => self.context.store.groups().await.map_err(Problem::from)?,
            text => vec![self.find_group(text).await?],
        };
        let (mut agents, mut unseen) = (Vec::new(), BTreeSet::new());
        for group in groups {
            if self.is_unseen(group.id) {
                unseen.insert(group.label());
            }
            let gathered = self.gather(group).await?;
            agents.extend(gathered.agents.iter().map(|agent| shown(&gathered, agent)));
        }
        let mut list = ListAgentsResponse { agents };
        self.complete(asked, &request, unseen, &mut list).await;
        Ok(Response::new(list))
    }

    async fn show(&self, request: Request<ShowAgentRequest>) -> Result<Response<Agent>, Status> {
        let agent = self.find_agent(&request.into_inner().agent).await?;
        let gathered = self.gather(self.group_of(&agent).await?).await?;
        Ok(Response::new(shown(&gathered, &agent)))
    }

    async fn set_intent(
        &self,
        request: Request<SetAgentIntentRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor: Actor, asked: SetAgentIntentRequest| async move {
            let intent = convert::read_intent(asked.intent)?;
            let (agent, group) = api.find_member(&asked.agent).await?;
            if intent != Intent::Enabled && !asked.force {
                api.guard_last(&group, &agent).await?;
            }
            let command =
                SetIntent { member: agent.id.to_string(), intent: asked.intent, force: asked.force };
            let revision = api.propose(&group, &actor, Command::Intent(command)).await?;
            // Once this returns, this gateway gives it new sessions no more, or again.
            let fits = |view: &convert::Snapshot| {
                view.members.get(&agent.id).is_some_and(|member| member.intent == intent)
            };
            api.until_seen(group.id, fits).await;
            Ok(ChangeResponse { revision })
        };
        let subject = |asked: &SetAgentIntentRequest| {
            let intent = convert::read_intent(asked.intent).map_or("?", |intent| intent.as_str());
            format!("{} {intent}{}", asked.agent, if asked.force { " by force" } else { "" })
        };
        self.change(request, "agents.set-intent", work, subject).await
    }

    async fn set_weight(
        &self,
        request: Request<SetAgentWeightRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor: Actor, asked: SetAgentWeightRequest| async move {
            if asked.weight == 0 || asked.weight > WEIGHT_MAX.into() {
                let message = format!("weight {} is out of bounds, expected 1 to {WEIGHT_MAX}", asked.weight);
                return Err(Problem::new(Code::InvalidArgument, "weight", message));
            }
            let (agent, group) = api.find_member(&asked.agent).await?;
            let command = SetWeight { member: agent.id.to_string(), weight: asked.weight };
            let revision = api.propose(&group, &actor, Command::Weight(command)).await?;
            Ok(ChangeResponse { revision })
        };
        self.change(request, "agents.set-weight", work, |asked| format!("{} {}", asked.agent, asked.weight))
            .await
    }

    async fn set_tier(
        &self,
        request: Request<SetAgentTierRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor: Actor, asked: SetAgentTierRequest| async move {
            if asked.tier > TIER_MAX.into() {
                let message = format!("tier {} is out of bounds, expected 0 to {TIER_MAX}", asked.tier);
                return Err(Problem::new(Code::InvalidArgument, "tier", message));
            }
            let (agent, group) = api.find_member(&asked.agent).await?;
            let command = SetTier { member: agent.id.to_string(), tier: asked.tier };
            let revision = api.propose(&group, &actor, Command::Tier(command)).await?;
            Ok(ChangeResponse { revision })
        };
        self.change(request, "agents.set-tier", work, |asked| format!("{} {}", asked.agent, asked.tier)).await
    }

    async fn revoke(
        &self,
        request: Request<RevokeAgentRequest>,
    ) -> Result<Response<RevokeAgentResponse>, Status> {
        let work = |api: Self, actor, asked: RevokeAgentRequest| async move {
            let agent = api.find_agent(&asked.agent).await?;
            api.revoke_agent(&actor, agent).await
        };
        self.change(request, "agents.revoke", work, |asked| asked.agent.clone()).await
    }
}

impl Api {
    /// What must hold comes first: the store lets it in no more, its tunnels are cut. Only then the group is asked to let
    /// it go, which may take a quorum that is not there. Done again, it asks the group again.
    async fn revoke_agent(&self, actor: &Actor, agent: AgentRecord) -> Result<RevokeAgentResponse, Problem> {
        let group = self.group_of(&agent).await?;
        self.context.store.revoke_agent(agent.id, now_s()).await?;
        let cut = self.context.registry.cut_agent(agent.id, CloseReason::Revoked);
        info!(agent = %agent.id, group = group.label(), by = %actor.0.name, tunnels = cut, "agent revoked");
        // Also of one that has not joined yet: while its certificate holds it could, through a member that has not heard
        // of the revocation.
        let command = Command::Remove(RemoveMember { member: agent.id.to_string() });
        let membership_pending = match self.propose(&group, actor, command).await {
            Ok(_) => String::new(),
            Err(problem) if problem.reason == "unknown_member" => String::new(),
            Err(problem) => problem.message,
        };
        Ok(RevokeAgentResponse { membership_pending })
    }

    /// The group guards its last healthy member too, but knows nothing of tunnels.
    async fn guard_last(&self, group: &GroupRecord, agent: &AgentRecord) -> Result<(), Problem> {
        let gathered = self.gather(group.clone()).await?;
        let another_serves =
            gathered.agents.iter().any(|other| other.id != agent.id && gathered.serves(other.id));
        if !gathered.serves(agent.id) || another_serves {
            return Ok(());
        }
        let message = format!(
            "{} is the last member that takes sessions at this gateway: new ones would have nowhere to go \
             (force it if that is meant)",
            agent.id
        );
        Err(Problem::new(Code::FailedPrecondition, "last_healthy_member", message))
    }

    async fn find_member(&self, text: &str) -> Result<(AgentRecord, GroupRecord), Problem> {
        let agent = self.find_agent(text).await?;
        let group = self.group_of(&agent).await?;
        if agent.revoked_s.is_some() {
            let message = format!("{} was revoked", agent.id);
            return Err(Problem::new(Code::FailedPrecondition, "revoked", message));
        }
        Ok((agent, group))
    }

    async fn group_of(&self, agent: &AgentRecord) -> Result<GroupRecord, Problem> {
        let group = self.context.store.group(agent.group).await?;
        group.ok_or_else(|| {
            let message = format!("group of {} was deleted, and the agent revoked with it", agent.id);
            Problem::new(Code::NotFound, "group_gone", message)
        })
    }
}

fn shown(gathered: &Gathered, agent: &AgentRecord) -> Agent {
    Agent {
        id: agent.id.to_string(),
        name: agent.name.to_string(),
        group: gathered.group.name.to_string(),
        status: gathered.status_of(agent).to_owned(),
        enrolled_s: agent.enrolled_s,
        certificate_expires_s: agent.not_after_s,
        version: agent.version.clone(),
        tunnels: gathered.tunnels_of(agent.id),
        sessions: gathered.sessions_of(agent.id),
        peer_address: agent.peer_address.clone(),
    }
}
