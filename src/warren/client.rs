//! The admin API as the command line speaks to it.

use std::{future::Future, time::Duration};

use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use warren_wire::v1;

use crate::exit::Failure;

mod access;
mod dial;
mod refusal;

pub(crate) use access::{Access, ApiArgs};
pub(crate) use refusal::Refusal;

/// How long one call may take, the gateway's own waiting for the group included.
const CALL: Duration = Duration::from_secs(10);
/// How much longer than the gateway we wait, so that its answer about a timeout arrives.
const GRACE: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A connection to one gateway's admin API. Cheap to clone; dials again by itself when the connection was lost.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    service: Service,
}

/// What the generated clients call through.
pub(crate) type Service = InterceptedService<Channel, Bearer>;

/// Adds the caller's token and the deadline to every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

macro_rules! nouns {
    ($($noun:ident: $module:ident::$client:ident;)*) => {
        impl Api {
            $(pub(crate) fn $noun(&self) -> v1::$module::$client<Service> {
                v1::$module::$client::new(self.service.clone())
            })*
        }
    };
}

nouns! {
    customers: customers_client::CustomersClient;
    groups: groups_client::GroupsClient;
    agents: agents_client::AgentsClient;
    resources: resources_client::ResourcesClient;
    tokens: tokens_client::TokensClient;
    config: config_client::ConfigClient;
    sessions: sessions_client::SessionsClient;
    users: users_client::UsersClient;
    audit: audit_client::AuditClient;
}

impl Api {
    /// Connects, so that a gateway that is not there is told at once and in plain words.
    pub(crate) async fn connect(access: &Access) -> Result<Self, Failure> {
        let mut header: MetadataValue<Ascii> = format!("Bearer {}", access.token)
            .parse()
            .map_err(|_| Failure::usage("the API token has characters that no token has"))?;
        header.set_sensitive(true);
        let dialer = dial::Dialer::new(access)?;
        let connector = dialer.connector().await?;
        // The connector speaks TLS; an https URI would make tonic ask for its own.
        let endpoint = Endpoint::from_shared(format!("http://{}", access.authority()))
            .map_err(|error| Failure::usage(format!("`{}` is not an address", access.api)).because(error))?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| Failure::unreachable(format!("cannot talk to {}", access.api)).because(error))?;
        Ok(Self { service: InterceptedService::new(channel, Bearer(header)) })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        request.set_timeout(CALL);
        Ok(request)
    }
}

/// Waits for the answer of one call, within the deadline.
pub(crate) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Refusal> {
    match tokio::time::timeout(CALL + GRACE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Refusal::from(status)),
        Err(_) => Err(Refusal::silent(CALL)),
    }
}
