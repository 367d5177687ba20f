use std::time::Duration;

use rand::Rng;
use tonic::{Code, Request, Response, Status};
use tracing::error;
use warren_core::id::TokenId;
use warren_identity::TokenClaims;
use warren_wire::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest,
    RevokeTokenResponse, RotateTokensRequest, RotateTokensResponse, Token, tokens_server::Tokens,
};

use super::{
    Api,
    clock::now_s,
    error::{Problem, causes},
};
use crate::store::{GroupRecord, TokenRecord};

const LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);

#[tonic::async_trait]
impl Tokens for Api {
    async fn create(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let work = |api: Self, _, asked| async move { api.create_token(asked).await };
        self.change(request, "tokens.create", work, |asked| asked.group.clone()).await
    }

    async fn list(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let asked = request.into_inner();
        let groups = match asked.group.as_str() {
            "" => self.context.store.groups().await.map_err(Problem::from)?,
            text => vec![self.find_group(text).await?],
        };
        let one = if asked.group.is_empty() { None } else { groups.first().map(|group| group.id) };
        let tokens = self.context.store.tokens(one).await.map_err(Problem::from)?;
        let now_s = now_s();
        let tokens = tokens.iter().filter_map(|token| {
            let group = groups.iter().find(|group| group.id == token.group)?;
            Some(shown(token, group, now_s))
        });
        Ok(Response::new(ListTokensResponse { tokens: tokens.collect() }))
    }

    async fn rotate(
        &self,
        request: Request<RotateTokensRequest>,
    ) -> Result<Response<RotateTokensResponse>, Status> {
        let work = |api: Self, _, asked: RotateTokensRequest| async move {
            let group = api.find_group(&asked.group).await?;
            let generation = api.context.store.rotate_tokens(group.id).await?;
            Ok(RotateTokensResponse { generation })
        };
        self.change(request, "tokens.rotate", work, |asked| asked.group.clone()).await
    }

    async fn revoke(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let work = |api: Self, _, asked: RevokeTokenRequest| async move {
            let token = api.find_token(&asked.id).await?;
            api.context.store.revoke_token(token.id, now_s()).await?;
            Ok(RevokeTokenResponse {})
        };
        self.change(request, "tokens.revoke", work, |asked| asked.id.clone()).await
    }
}

impl Api {
    async fn create_token(&self, asked: CreateTokenRequest) -> Result<CreateTokenResponse, Problem> {
        let group = self.find_group(&asked.group).await?;
        check_owner(&asked, &group)?;
        let lifetime = match asked.expires_in_s {
            0 => self.context.config.token_lifetime,
            seconds => Duration::from_secs(seconds),
        };
        if lifetime > LIFETIME_MAX {
            return Err(Problem::invalid("a token may be good for a year at most"));
        }
        let now_s = now_s();
        let record = TokenRecord {
            id: TokenId::from_random(rand::rng().random()),
            group: group.id,
            customer: group.customer.as_ref().map(|customer| customer.id),
            created_s: now_s,
            expires_s: now_s + lifetime.as_secs(),
            max_uses: (asked.max_uses > 0).then_some(asked.max_uses),
            uses: 0,
            generation: group.generation,
            revoked_s: None,
        };
        let claims = TokenClaims {
            id: record.id,
            group: group.id,
            customer: record.customer,
            org_only: record.customer.is_none(),
            issued_at: record.created_s,
            not_before: None,
            expires_at: record.expires_s,
            max_uses: record.max_uses,
            generation: record.generation,
        };
        let token = self.context.tokens.issue(&claims).map_err(|failed| {
            error!(error = causes(&failed), "cannot sign a token");
            Problem::new(Code::Internal, failed.reason(), failed.to_string())
        })?;
        self.context.store.create_token(&record).await?;
        Ok(CreateTokenResponse { info: Some(shown(&record, &group, now_s)), token })
    }
}

/// Whoever names an owner must mean the one that the group has.
fn check_owner(asked: &CreateTokenRequest, group: &GroupRecord) -> Result<(), Problem> {
    let wrong = |message: String| Err(Problem::new(Code::InvalidArgument, "wrong_customer", message));
    if asked.org_only && !asked.customer.is_empty() {
        return wrong("a token cannot be org-only and of a customer at once".to_owned());
    }
    match &group.customer {
        Some(owner) if asked.org_only => {
            wrong(format!("group `{}` belongs to customer `{}`, it is not org-only", group.name, owner.name))
        }
        Some(owner) if !asked.customer.is_empty() => {
            if owner.name.as_str() == asked.customer || owner.id.to_string() == asked.customer {
                return Ok(());
            }
            wrong(format!(
                "group `{}` belongs to customer `{}`, not `{}`",
                group.name, owner.name, asked.customer
            ))
        }
        None if !asked.customer.is_empty() => {
            wrong(format!("group `{}` is org-only, it has no customer", group.name))
        }
        _ => Ok(()),
    }
}

fn shown(token: &TokenRecord, group: &GroupRecord, now_s: u64) -> Token {
    Token {
        id: token.id.to_string(),
        group: group.name.to_string(),
        customer: group.customer.as_ref().map(|customer| customer.name.to_string()).unwrap_or_default(),
        created_s: token.created_s,
        expires_s: token.expires_s,
        max_uses: token.max_uses.unwrap_or_default(),
        uses: token.uses,
        generation: token.generation,
        state: token.state(group.generation, now_s).as_str().to_owned(),
    }
}
