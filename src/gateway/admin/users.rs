use rand::Rng;
use tonic::{Request, Response, Status};
use warren_core::id::UserId;
use warren_identity::secret;
use warren_wire::v1::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, DeleteUserResponse, ListUsersRequest,
    ListUsersResponse, User, users_server::Users,
};

use super::{Api, clock::now_s, error::Problem};
use crate::store::UserRecord;

#[tonic::async_trait]
impl Users for Api {
    async fn create(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let work = |api: Self, _, asked: CreateUserRequest| async move {
            let token = secret::new_secret();
            let user = UserRecord {
                id: UserId::from_random(rand::rng().random()),
                name: asked.name.parse()?,
                role: asked.role.parse()?,
                created_s: now_s(),
                token_hash: secret::hash_secret(&token),
            };
            api.context.store.create_user(&user).await?;
            Ok(CreateUserResponse { user: Some(shown(&user)), token })
        };
        self.change(request, "users.create", work, |asked| format!("{} {}", asked.name, asked.role)).await
    }

    async fn list(&self, _request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let users = self.context.store.users().await.map_err(Problem::from)?;
        Ok(Response::new(ListUsersResponse { users: users.iter().map(shown).collect() }))
    }

    async fn delete(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        let work = |api: Self, _, asked: DeleteUserRequest| async move {
            let user = api.find_user(&asked.user).await?;
            api.context.store.delete_user(user.id).await?;
            Ok(DeleteUserResponse {})
        };
        self.change(request, "users.delete", work, |asked| asked.user.clone()).await
    }
}

fn shown(user: &UserRecord) -> User {
    User {
        id: user.id.to_string(),
        name: user.name.to_string(),
        role: user.role.to_string(),
        created_s: user.created_s,
    }
}
