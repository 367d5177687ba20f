//! A gateway's services without its sockets: the real store, keys and registry, called as the listener calls them.

use std::{fs, net::SocketAddr, sync::Arc, time::SystemTime};

use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};
use warren_core::id::{AgentId, GatewayId};
use warren_identity::{IdentityError, PeerIdentity, PrivateKey};
use warren_tunnel::Hello;
use warren_wire::v1::{
    CreateGroupRequest, CreateTokenRequest, EnrolRequest, EnrolResponse, RenewRequest, RenewResponse,
    agents_client::AgentsClient, audit_client::AuditClient, config_client::ConfigClient,
    customers_client::CustomersClient, enrolment_client::EnrolmentClient, groups_client::GroupsClient,
    resources_client::ResourcesClient, sessions_client::SessionsClient, tokens_client::TokensClient,
    users_client::UsersClient,
};

use super::site::Site;
use crate::{
    admin::{Caller, Context, routes},
    config::{GatewayConfig, Overrides},
    dispatch::{DispatchLimits, Dispatcher},
    ingress::Ingress,
    neighbours::calls,
    registry::Registry,
    sessions::SessionLog,
    setup::Foundation,
    testing,
    tunnels::{TunnelLimits, Tunnels},
};

pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) tunnels: Tunnels,
    routes: Routes,
    admin_token: String,
    folder: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), GatewayId::from_random(7)).await
    }

    /// Another gateway on the same store, which passes on to this one.
    pub(crate) async fn beside(&self) -> Self {
        let other = Self::on(self.folder.clone(), GatewayId::from_random(8)).await;
        let (near, far) = testing::tunnel(Hello::new(1, 1, 0));
        near.ready().await.unwrap();
        other.context.neighbours.seek();
        other.context.neighbours.up(self.context.gateway, near);
        let api = self.routes.clone().into_axum_router();
        tokio::spawn(async move {
            while let Some(incoming) = far.accept().await {
                tokio::spawn(calls::serve(incoming, api.clone()));
            }
        });
        other
    }

    async fn on(folder: Arc<tempfile::TempDir>, gateway: GatewayId) -> Self {
        let overrides = Overrides { data_dir: Some(folder.path().to_owned()), ..Overrides::default() };
        let config = Arc::new(GatewayConfig::parse("test", "", &overrides).unwrap());
        let foundation = Foundation::open(&config, SystemTime::now()).await.unwrap();
        let (registry, sessions, stop) =
            (Registry::default(), SessionLog::default(), CancellationToken::new());
        let dispatcher = Dispatcher::new(
            registry.clone(),
            Default::default(),
            sessions.clone(),
            DispatchLimits::default(),
            Default::default(),
        );
        let store = foundation.store.clone();
        let place = (config.ingress.host, config.ingress.ports);
        let ingress = Ingress::new(place, store.clone(), registry.clone(), dispatcher, stop.clone());
        let limits = TunnelLimits {
            gateway,
            machine: warren_tunnel::Config::default(),
            echo_every: config.tunnel.echo,
            tunnels_max: 100,
            budget: warren_tunnel::Budget::new(64 << 20),
        };
        let tunnels = Tunnels::new(registry.clone(), store.clone(), limits, stop);
        let context = Context {
            store,
            registry,
            ingress,
            sessions,
            neighbours: Default::default(),
            gateway,
            authority: foundation.authority,
            tokens: foundation.tokens,
            config,
        };
        let admin_token = fs::read_to_string(&foundation.token_path).unwrap().trim().to_owned();
        Self { routes: routes(context.clone()), context, tunnels, admin_token, folder }
    }

    /// Keeps the store from being written to for as long as the value lives.
    pub(crate) async fn lock_store(&self) -> SqliteConnection {
        let file = self.folder.path().join("gateway.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        connection
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(&self.admin_token)
    }

    /// One who calls with a bearer token; with none if it is empty.
    pub(crate) fn client(&self, token: &str) -> Client {
        self.caller(token, None)
    }

    /// One who calls with an agent's certificate.
    pub(crate) fn agent(&self, identity: PeerIdentity) -> EnrolmentClient<Calls> {
        EnrolmentClient::new(self.caller("", Some(identity)).calls)
    }

    fn caller(&self, token: &str, identity: Option<PeerIdentity>) -> Client {
        let identity = identity.ok_or(IdentityError::NoCertificate);
        let caller = Caller {
            address: SocketAddr::from(([192, 0, 2, 1], 4711)),
            identity,
            standing: Default::default(),
        };
        let badge = Badge { token: token.to_owned(), caller };
        Client { calls: InterceptedService::new(self.routes.clone(), badge) }
    }

    /// A registration token for a group.
    pub(crate) async fn token(&self, group: &str, max_uses: u32) -> String {
        let asked = CreateTokenRequest { group: group.into(), max_uses, ..Default::default() };
        self.admin().tokens().create(asked).await.unwrap().into_inner().token
    }

    pub(crate) async fn enrol_with(
        &self,
        token: &str,
        name: &str,
        key: &PrivateKey,
    ) -> Result<EnrolResponse, Status> {
        let asked = EnrolRequest {
            token: token.to_owned(),
            csr: key.csr_der().unwrap().into(),
            name: name.to_owned(),
            version: "1.0".to_owned(),
        };
        let mut client = EnrolmentClient::new(self.client("").calls);
        client.enrol(asked).await.map(tonic::Response::into_inner)
    }

    /// A new agent of a group that exists.
    pub(crate) async fn enrol(&self, group: &str, name: &str) -> AgentId {
        let token = self.token(group, 1).await;
        let key = PrivateKey::generate().unwrap();
        self.enrol_with(&token, name, &key).await.unwrap().agent_id.parse().unwrap()
    }

    /// A new group with one agent, `first`, whose tunnel is up and which leads.
    pub(crate) async fn site(&self, group: &str) -> Site {
        let asked = CreateGroupRequest { name: group.into(), ..Default::default() };
        self.admin().groups().create(asked).await.unwrap();
        let token = self.token(group, 1).await;
        let key = PrivateKey::generate().unwrap();
        let enrolled = self.enrol_with(&token, "first", &key).await.unwrap();
        Site::start(self, &enrolled).await
    }

    pub(crate) async fn renew(&self, site: &Site) -> Result<RenewResponse, Status> {
        let key = PrivateKey::generate().unwrap();
        let asked = RenewRequest { csr: key.csr_der().unwrap().into() };
        self.agent(site.identity.clone()).renew(asked).await.map(tonic::Response::into_inner)
    }
}

pub(crate) type Calls = InterceptedService<Routes, Badge>;

pub(crate) struct Client {
    calls: Calls,
}

macro_rules! services {
    ($($name:ident: $client:ident),+ $(,)?) => {
        impl Client {
            $(pub(crate) fn $name(&self) -> $client<Calls> {
                $client::new(self.calls.clone())
            })+
        }
    };
}

services! {
    agents: AgentsClient,
    audit: AuditClient,
    config: ConfigClient,
    customers: CustomersClient,
    groups: GroupsClient,
    resources: ResourcesClient,
    sessions: SessionsClient,
    tokens: TokensClient,
    users: UsersClient,
}

/// Adds what a connection brings along.
#[derive(Clone)]
pub(crate) struct Badge {
    token: String,
    caller: Caller,
}

impl Interceptor for Badge {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.token.is_empty() {
            let bearer = format!("Bearer {}", self.token)
                .parse()
                .map_err(|_| Status::internal("a token that no header can hold"))?;
            request.metadata_mut().insert("authorization", bearer);
        }
        request.extensions_mut().insert(self.caller.clone());
        Ok(request)
    }
}
