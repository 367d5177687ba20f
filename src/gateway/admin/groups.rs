use rand::Rng;
use tonic::{Code, Request, Response, Status};
use warren_core::id::GroupId;
use warren_tunnel::CloseReason;
use warren_wire::v1::{
    CreateGroupRequest, DeleteGroupRequest, DeleteGroupResponse, Group, GroupStatus, GroupStatusRequest,
    ListGroupsRequest, ListGroupsResponse, ShowGroupRequest, groups_server::Groups,
};

use super::{Api, clock::now_s, error::Problem, everywhere::Asked, status::Gathered};
use crate::store::{CustomerRef, GroupRecord};

/// The generation of a group's first tokens.
const FIRST_GENERATION: u32 = 1;

#[tonic::async_trait]
impl Groups for Api {
    async fn create(&self, request: Request<CreateGroupRequest>) -> Result<Response<Group>, Status> {
        let work = |api: Self, _, asked: CreateGroupRequest| async move {
            let customer = match asked.customer.as_str() {
                "" => None,
                text => Some(api.find_customer(text).await?),
            };
            let group = GroupRecord {
                id: GroupId::from_random(rand::rng().random()),
                name: asked.name.parse()?,
                customer: customer.map(|customer| CustomerRef { id: customer.id, name: customer.name }),
                created_s: now_s(),
                generation: FIRST_GENERATION,
            };
            api.context.store.create_group(&group).await?;
            api.context.registry.name_group(group.id, &group.label());
            Ok(shown(&api.gather_with(group, Vec::new())))
        };
        self.change(request, "groups.create", work, |asked| asked.name.clone()).await
    }

    async fn list(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let asked = Asked::of(&request);
        let request = request.into_inner();
        let customer = match request.customer.as_str() {
            "" => None,
            text => Some(self.find_customer(text).await?.id),
        };
        let agents = self.context.store.agents(None).await.map_err(Problem::from)?;
        let mut groups = self.context.store.groups().await.map_err(Problem::from)?;
        groups
            .retain(|group| customer.is_none_or(|id| group.customer.as_ref().is_some_and(|of| of.id == id)));
        let unseen = groups.iter().map(|group| group.id).filter(|id| self.is_unseen(*id));
        let unseen = unseen.map(|id| id.to_string()).collect();
        let groups = groups.into_iter().map(|group| {
            let own = agents.iter().filter(|agent| agent.group == group.id).cloned().collect();
            shown(&self.gather_with(group, own))
        });
        let mut list = ListGroupsResponse { groups: groups.collect() };
        self.complete(asked, &request, unseen, &mut list).await;
        Ok(Response::new(list))
    }

    async fn show(&self, request: Request<ShowGroupRequest>) -> Result<Response<Group>, Status> {
        let group = self.find_group(&request.into_inner().group).await?;
        Ok(Response::new(shown(&self.gather(group).await?)))
    }

    async fn delete(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let work = |api: Self, _, asked| async move { api.delete_group(asked).await };
        self.change(request, "groups.delete", work, |asked| asked.group.clone()).await
    }

    async fn status(&self, request: Request<GroupStatusRequest>) -> Result<Response<GroupStatus>, Status> {
        let group = self.find_group(&request.into_inner().group).await?;
        Ok(Response::new(self.gather(group).await?.status(self)))
    }
}

impl Api {
    async fn delete_group(&self, asked: DeleteGroupRequest) -> Result<DeleteGroupResponse, Problem> {
        let group = self.find_group(&asked.group).await?;
        let agents = self.context.store.agents(Some(group.id)).await?;
        let live = agents.iter().filter(|agent| agent.revoked_s.is_none()).count();
        if live > 0 && !asked.force {
            let message = format!(
                "group `{}` has {live} agents that would be revoked for good (force it if that is meant)",
                group.name
            );
            return Err(Problem::new(Code::FailedPrecondition, "group_has_agents", message));
        }
        // The store first: from here on nobody of the group gets in again, whatever happens to us.
        let revoked = self.context.store.delete_group(group.id, now_s()).await?;
        for agent in revoked {
            self.context.registry.cut_agent(agent, CloseReason::Revoked);
        }
        self.context.registry.cut_group(group.id, CloseReason::Revoked);
        self.context.ingress.close_group(group.id).await;
        Ok(DeleteGroupResponse {})
    }
}

fn shown(gathered: &Gathered) -> Group {
    let group = &gathered.group;
    let agents = gathered.agents.iter().filter(|agent| agent.revoked_s.is_none()).count();
    Group {
        id: group.id.to_string(),
        name: group.name.to_string(),
        customer: group.customer.as_ref().map(|customer| customer.name.to_string()).unwrap_or_default(),
        created_s: group.created_s,
        state: gathered.standing.judgement.group.status.as_str().to_owned(),
        agents: u32::try_from(agents).unwrap_or(u32::MAX),
    }
}
