use std::time::Duration;

use tokio::time::sleep;
use tonic::{Code, Request, Response, Status};
use warren_core::{config::Resource as Settings, id::Name, state::Verdict};
use warren_wire::{
    convert::{self, SnapshotResource},
    v1::{
        ChangeResponse, CreateResourceRequest, DeleteResourceRequest, ListResourcesRequest,
        ListResourcesResponse, Resource, ResourceView, ShowResourceRequest, UpdateResourceRequest,
        config_change::Change, resources_server::Resources,
    },
};

use super::{Api, auth::Actor, error::Problem, status::Gathered};
use crate::store::GroupRecord;

const DESCRIPTION_BYTES_MAX: usize = 1_000;
/// Tries of an update whose base changed under it.
const UPDATES_MAX: u32 = 5;
const UPDATE_PAUSE: Duration = Duration::from_millis(100);

#[tonic::async_trait]
impl Resources for Api {
    async fn create(
        &self,
        request: Request<CreateResourceRequest>,
    ) -> Result<Response<ResourceView>, Status> {
        let work = |api: Self, actor, asked| async move { api.create_resource(&actor, asked).await };
        let subject =
            |asked: &CreateResourceRequest| format!("{}/{} {}", asked.group, asked.name, asked.target);
        self.change(request, "resources.create", work, subject).await
    }

    async fn list(
        &self,
        request: Request<ListResourcesRequest>,
    ) -> Result<Response<ListResourcesResponse>, Status> {
        let groups = match request.into_inner().group.as_str() {
            "" => self.context.store.groups().await.map_err(Problem::from)?,
            text => {
                let group = self.find_group(text).await?;
                self.view(&group)?;
                vec![group]
            }
        };
        let mut resources = Vec::new();
        for group in groups {
            let gathered = self.gather(group).await?;
            let known = gathered.view().into_iter().flat_map(|view| &view.resources);
            resources.extend(known.map(|(name, resource)| shown(self, &gathered, name, resource)));
        }
        Ok(Response::new(ListResourcesResponse { resources }))
    }

    async fn show(&self, request: Request<ShowResourceRequest>) -> Result<Response<ResourceView>, Status> {
        let asked = request.into_inner();
        let group = self.find_group(&asked.group).await?;
        Ok(Response::new(self.show_resource(group, &asked.name).await?))
    }

    async fn update(
        &self,
        request: Request<UpdateResourceRequest>,
    ) -> Result<Response<ResourceView>, Status> {
        let work = |api: Self, actor, asked| async move { api.update_resource(&actor, asked).await };
        let subject = |asked: &UpdateResourceRequest| format!("{}/{}", asked.group, asked.name);
        self.change(request, "resources.update", work, subject).await
    }

    async fn delete(
        &self,
        request: Request<DeleteResourceRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor: Actor, asked: DeleteResourceRequest| async move {
            let group = api.find_group(&asked.group).await?;
            let name: Name = asked.name.parse()?;
            let change = Change::Delete(name.to_string());
            let revision = api.change_config(&group, &actor, asked.expected_revision, change).await?;
            api.context.ingress.close(group.id, &name).await;
            Ok(ChangeResponse { revision })
        };
        let subject = |asked: &DeleteResourceRequest| format!("{}/{}", asked.group, asked.name);
        self.change(request, "resources.delete", work, subject).await
    }
}

impl Api {
    /// The port is bound and kept before the group is asked, so that a resource which exists can be reached there, even if
    /// this process dies in between; and given up when the group has said no.
    async fn create_resource(
        &self,
        actor: &Actor,
        asked: CreateResourceRequest,
    ) -> Result<ResourceView, Problem> {
        let group = self.find_group(&asked.group).await?;
        let name: Name = asked.name.parse()?;
        let resource = Resource {
            name: asked.name,
            target: asked.target,
            policy: asked.policy,
            description: asked.description,
            revision: 0,
        };
        let settings = check(&resource)?;
        let observed = self.context.registry.group(group.id);
        let view = observed.and_then(|observed| observed.view.clone());
        if view.is_some_and(|view| view.resources.contains_key(&name)) {
            return Err(Problem::new(
                Code::AlreadyExists,
                "resource_exists",
                format!("resource `{name}` exists already"),
            ));
        }
        let listen = Some(asked.listen.as_str()).filter(|listen| !listen.is_empty());
        let mut reservation = self.context.ingress.reserve(group.id, &name, listen)?;
        reservation.keep().await?;
        let change = Change::Create(resource);
        let revision = match self.change_config(&group, actor, asked.expected_revision, change).await {
            Ok(revision) => revision,
            Err(problem) => {
                if problem.unsure {
                    // If it is not, the port is given up as that of a resource that is gone.
                    reservation.commit().await?;
                } else {
                    reservation.release().await;
                }
                return Err(problem);
            }
        };
        let address = reservation.commit().await?;
        let resource = SnapshotResource { resource: settings, revision };
        let gathered = self.gather(group).await?;
        let shown = shown(self, &gathered, &name, &resource);
        Ok(ResourceView { listen: address.to_string(), ..shown })
    }

    /// Puts the asked fields over what is there. When the config changed in between and nobody said which revision was
    /// meant, it is read and tried again.
    async fn update_resource(
        &self,
        actor: &Actor,
        asked: UpdateResourceRequest,
    ) -> Result<ResourceView, Problem> {
        let group = self.find_group(&asked.group).await?;
        let name: Name = asked.name.parse()?;
        for left in (0..UPDATES_MAX).rev() {
            let view = self.view(&group)?;
            let known =
                view.resources.get(&name).ok_or_else(|| Problem::unknown("resource", name.as_str()))?;
            let was = &known.resource;
            let resource = Resource {
                name: name.to_string(),
                target: asked.target.clone().unwrap_or_else(|| was.target.to_string()),
                policy: asked.policy.clone().unwrap_or_else(|| was.policy.to_string()),
                description: asked.description.clone().unwrap_or_else(|| was.description.clone()),
                revision: 0,
            };
            check(&resource)?;
            let expected = asked.expected_revision.unwrap_or(view.revision);
            match self.change_config(&group, actor, Some(expected), Change::Put(resource)).await {
                Ok(_) => break,
                Err(problem)
                    if problem.reason == "stale" && asked.expected_revision.is_none() && left > 0 =>
                {
                    sleep(UPDATE_PAUSE).await;
                }
                Err(problem) => return Err(problem),
            }
        }
        self.show_resource(group, name.as_str()).await
    }

    async fn show_resource(&self, group: GroupRecord, name: &str) -> Result<ResourceView, Problem> {
        let name: Name = name.parse()?;
        let view = self.view(&group)?;
        let resource =
            view.resources.get(&name).ok_or_else(|| Problem::unknown("resource", name.as_str()))?;
        let gathered = self.gather(group).await?;
        Ok(shown(self, &gathered, &name, resource))
    }
}

/// Tells mistakes here already, in words about what was typed.
fn check(resource: &Resource) -> Result<Settings, Problem> {
    if resource.description.len() > DESCRIPTION_BYTES_MAX {
        return Err(Problem::invalid(format!("description is longer than {DESCRIPTION_BYTES_MAX} bytes")));
    }
    Ok(convert::read_resource(resource)?)
}

pub(super) fn shown(
    api: &Api,
    gathered: &Gathered,
    name: &Name,
    resource: &SnapshotResource,
) -> ResourceView {
    let members: Vec<_> = gathered.view().into_iter().flat_map(|view| view.members.keys()).collect();
    let up = members.iter().filter(|&&&id| {
        let verdict = gathered.view().map_or(Verdict::Up, |view| view.resource_verdict(id, name));
        gathered.serves(id) && verdict == Verdict::Up
    });
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let listen = api.context.ingress.address(gathered.group.id, name);
    ResourceView {
        name: name.to_string(),
        group: gathered.group.name.to_string(),
        target: resource.resource.target.to_string(),
        policy: resource.resource.policy.to_string(),
        description: resource.resource.description.clone(),
        listen: listen.map(|listen| listen.to_string()).unwrap_or_default(),
        revision: resource.revision,
        members_up: count(up.count()),
        members: count(members.len()),
    }
}
