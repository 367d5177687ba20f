//! The admin API and enrolment: what people, programs and agents ask of the gateway by gRPC.
//!
//! Each service of `proto/admin.proto` is one file. All of them go the same way: [`auth`] finds the user and the role
//! that the method needs, [`find`] turns names into records, the store or the group does it, [`audit`] writes down
//! every change that was tried, and [`error`] says what went wrong in one manner.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use warren_core::id::GatewayId;
use warren_identity::{Authority, IdentityError, PeerIdentity, TokenKey};
use warren_wire::v1;

use crate::{
    config::GatewayConfig, enrol::EnrolmentService, ingress::Ingress, neighbours::Neighbours,
    registry::Registry, sessions::SessionLog, store::Store,
};

mod agents;
pub(crate) mod audit;
mod auth;
mod clock;
mod config;
mod customers;
mod door;
mod elsewhere;
pub(crate) mod error;
mod everywhere;
mod find;
mod groups;
pub(crate) mod propose;
mod resources;
mod sessions;
mod status;
mod tokens;
mod users;

pub(crate) use clock::{now_ms, now_s};
use door::Door;

/// The largest request of the admin API, in bytes: a whole config of a thousand resources fits.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Everything that the services work on.
#[derive(Debug, Clone)]
pub struct Context {
    pub store: Arc<dyn Store>,
    pub registry: Registry,
    pub ingress: Ingress,
    pub sessions: SessionLog,
    /// Those who answer for groups that have no tunnel here.
    pub(crate) neighbours: Neighbours,
    /// What this gateway is called among them.
    pub(crate) gateway: GatewayId,
    pub authority: Arc<Authority>,
    pub tokens: Arc<TokenKey>,
    pub config: Arc<GatewayConfig>,
}

/// Who is at the other end of a connection. The listener puts it into the extensions of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub address: SocketAddr,
    pub standing: Standing,
    /// The agent whose certificate the connection showed, or why there is none. It may have expired or been revoked
    /// since.
    pub identity: Result<PeerIdentity, IdentityError>,
}

/// Whether a connection's caller is known. It is a stranger's until one of its calls brought a token that holds.
#[derive(Debug, Clone, Default)]
pub struct Standing(CancellationToken);

impl Standing {
    /// Waits until the caller is known.
    pub(crate) async fn known(&self) {
        self.0.cancelled().await;
    }

    /// From here on it is.
    pub(crate) fn prove(&self) {
        self.0.cancel();
    }
}

/// What the listener mounts: enrolment and the admin API. Requests must carry a [`Caller`].
pub fn routes(context: Context) -> Routes {
    let api = Arc::new(Api { context: context.clone() });
    macro_rules! mount {
        ($routes:ident, $($module:ident::$server:ident),+ $(,)?) => {
            $routes$(.add_service(
                v1::$module::$server::from_arc(api.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
            ))+
        };
    }
    let routes = Routes::new(EnrolmentService::new(&context).into_server());
    let routes = mount!(
        routes,
        customers_server::CustomersServer,
        groups_server::GroupsServer,
        agents_server::AgentsServer,
        resources_server::ResourcesServer,
        tokens_server::TokensServer,
        config_server::ConfigServer,
        sessions_server::SessionsServer,
        users_server::UsersServer,
        audit_server::AuditServer,
    );
    let door = Door::new(context);
    let pass_on = axum::middleware::from_fn_with_state(door.clone(), elsewhere::pass_on);
    let guard = axum::middleware::from_fn_with_state(door, auth::guard);
    Routes::from(routes.into_axum_router().layer(pass_on).layer(guard))
}

/// Implements every service of the admin API.
#[derive(Debug, Clone)]
struct Api {
    context: Context,
}

#[cfg(test)]
pub(crate) mod tests;
