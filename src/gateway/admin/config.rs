use tonic::{Request, Response, Status};
use warren_core::config::GroupConfig;
use warren_wire::v1::{
    ChangeResponse, ConfigDocument, ConfigHistoryRequest, ConfigHistoryResponse, GetConfigRequest,
    RollbackConfigRequest, SetConfigRequest, config_change::Change, config_server::Config,
};

use super::{Api, error::Problem};

const HISTORY_DEFAULT: u32 = 20;

#[tonic::async_trait]
impl Config for Api {
    async fn get(&self, request: Request<GetConfigRequest>) -> Result<Response<ConfigDocument>, Status> {
        let asked = request.into_inner();
        let group = self.find_group(&asked.group).await?;
        let view = self.view(&group)?;
        let document = match asked.revision {
            None => ConfigDocument { revision: view.revision, document: view.document.clone() },
            Some(revision) if revision == view.revision => {
                ConfigDocument { revision, document: view.document.clone() }
            }
            Some(revision) => {
                let history = self.context.registry.history(group.id, 0).await.map_err(Problem::from)?;
                let entry = history.into_iter().find(|entry| entry.revision == revision);
                let entry = entry.ok_or_else(|| Problem::unknown("revision", &revision.to_string()))?;
                ConfigDocument { revision, document: entry.document }
            }
        };
        Ok(Response::new(document))
    }

    async fn set(&self, request: Request<SetConfigRequest>) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor, asked: SetConfigRequest| async move {
            let group = api.find_group(&asked.group).await?;
            // Here already, so that all mistakes are told at once even while the group cannot be asked.
            GroupConfig::parse("config", &asked.document).map_err(Problem::invalid)?;
            let change = Change::Replace(asked.document);
            let revision = api.change_config(&group, &actor, asked.expected_revision, change).await?;
            Ok(ChangeResponse { revision })
        };
        self.change(request, "config.set", work, |asked| asked.group.clone()).await
    }

    async fn history(
        &self,
        request: Request<ConfigHistoryRequest>,
    ) -> Result<Response<ConfigHistoryResponse>, Status> {
        let asked = request.into_inner();
        let group = self.find_group(&asked.group).await?;
        let limit = if asked.limit == 0 { HISTORY_DEFAULT } else { asked.limit };
        let entries = self.context.registry.history(group.id, limit).await.map_err(Problem::from)?;
        Ok(Response::new(ConfigHistoryResponse { entries }))
    }

    async fn rollback(
        &self,
        request: Request<RollbackConfigRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let work = |api: Self, actor, asked: RollbackConfigRequest| async move {
            let group = api.find_group(&asked.group).await?;
            let change = Change::Rollback(asked.revision);
            let revision = api.change_config(&group, &actor, asked.expected_revision, change).await?;
            Ok(ChangeResponse { revision })
        };
        let subject = |asked: &RollbackConfigRequest| format!("{} to {}", asked.group, asked.revision);
        self.change(request, "config.rollback", work, subject).await
    }
}
