//! Calls to the gateway outside the tunnels: enrolment, renewal, introduction.

use std::{error::Error, io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use warren_identity::tls;
use warren_tunnel::dial::Connector;
use warren_wire::v1::enrolment_client::EnrolmentClient;

use crate::config::GatewayUrl;

/// How long connecting may take, with TLS.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long one call may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where a gateway says in one word why it refused.
const REASON: &str = "warren-reason";
/// Only gRPC is spoken here.
pub(crate) const ALPN: &[&str] = &["h2"];

/// Why a gateway did not do what it was asked.
#[derive(Debug, Error)]
pub enum CloudError {
    /// It decided against it; asking again the same way is of no use.
    #[error("{gateway} refused ({reason}): {message}")]
    Refused { gateway: String, reason: String, message: String },
    /// It was not reached, or could not decide; asking again is fine.
    #[error("cannot reach {gateway}: {why}")]
    Unreachable { gateway: String, why: String },
}

/// The gateways, and how they are reached.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    gateways: Vec<GatewayUrl>,
    connector: Arc<dyn Connector>,
    tls: Arc<rustls::ClientConfig>,
}

impl Cloud {
    /// `tls` must ask for [`ALPN`].
    pub(crate) fn new(
        gateways: Vec<GatewayUrl>,
        connector: Arc<dyn Connector>,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        Self { gateways, connector, tls }
    }

    /// Asks one gateway after the other until one has decided. Gives the first refusal, or the last trouble on the way.
    pub(crate) async fn ask<T, F>(
        &self,
        call: impl Fn(EnrolmentClient<Channel>) -> F,
    ) -> Result<T, CloudError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut trouble = None;
        for gateway in &self.gateways {
            match self.ask_one(gateway, &call).await {
                Err(error @ CloudError::Unreachable { .. }) => {
                    tracing::debug!(%gateway, %error, "gateway passed over");
                    trouble = Some(error);
                }
                decided => return decided,
            }
        }
        Err(trouble.unwrap_or_else(|| CloudError::Unreachable {
            gateway: "any gateway".to_owned(),
            why: "none is configured".to_owned(),
        }))
    }

    async fn ask_one<T, F>(
        &self,
        gateway: &GatewayUrl,
        call: impl Fn(EnrolmentClient<Channel>) -> F,
    ) -> Result<T, CloudError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let unreachable = |why: String| CloudError::Unreachable { gateway: gateway.to_string(), why };
        let channel = timeout(CONNECT_WITHIN, self.connect(gateway))
            .await
            .map_err(|_| unreachable(format!("no connection within {CONNECT_WITHIN:?}")))?
            .map_err(|error| unreachable(causes(&error)))?;
        let answer = timeout(ANSWER_WITHIN, call(EnrolmentClient::new(channel)))
            .await
            .map_err(|_| unreachable(format!("no answer within {ANSWER_WITHIN:?}")))?;
        answer.map(Response::into_inner).map_err(|status| judge(gateway, &status))
    }

    async fn connect(&self, gateway: &GatewayUrl) -> Result<Channel, tonic::transport::Error> {
        let (gateway, tls, connector) = (gateway.clone(), self.tls.clone(), self.connector.clone());
        // http:// because tonic would put a TLS of its own under https://; the name is for the :authority header only.
        let authority = format!("http://{}:{}", bracketed(gateway.host()), gateway.port());
        Endpoint::from_shared(authority)?
            .connect_with_connector(service_fn(move |_| {
                let (gateway, tls, connector) = (gateway.clone(), tls.clone(), connector.clone());
                async move {
                    let socket = connector
                        .connect(gateway.host(), gateway.port())
                        .await
                        .map_err(|error| io::Error::other(causes(&error)))?;
                    let name = ServerName::try_from(gateway.host().to_owned()).map_err(io::Error::other)?;
                    let stream = TlsConnector::from(tls).connect(name, socket).await.map_err(with_advice)?;
                    Ok::<_, io::Error>(TokioIo::new(stream))
                }
            }))
            .await
    }
}

/// The most common mistake of a first start gets its remedy.
fn with_advice(error: io::Error) -> io::Error {
    match tls::failure_reason(&error) {
        "unknown_issuer" => {
            io::Error::other(format!("{error} (give the root that vouches for the gateway with --ca)"))
        }
        _ => error,
    }
}

/// An error with all of its causes, each once.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        source = cause.source();
    }
    told
}

fn judge(gateway: &GatewayUrl, status: &Status) -> CloudError {
    let gateway = gateway.to_string();
    let reason = status.metadata().get(REASON).and_then(|value| value.to_str().ok());
    let decided = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::OutOfRange
    );
    match reason {
        _ if !decided => CloudError::Unreachable { gateway, why: causes(status) },
        reason => CloudError::Refused {
            gateway,
            reason: reason.map_or_else(|| status.code().description().to_owned(), str::to_owned),
            message: status.message().to_owned(),
        },
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use warren_identity::Trust;
    use warren_tunnel::dial::Direct;
    use warren_wire::v1;

    use super::*;
    use crate::testing::{Site, gateway::Gateway};

    #[test]
    fn a_refusal_is_told_from_trouble() {
        let gateway = "https://gw.corp".parse().unwrap();
        let mut refused = Status::permission_denied("token was rotated away");
        refused.metadata_mut().insert(REASON, "token_rotated".parse().unwrap());
        let told = judge(&gateway, &refused);
        assert!(matches!(&told, CloudError::Refused { reason, .. } if reason == "token_rotated"));
        assert_eq!(told.to_string(), "https://gw.corp:443 refused (token_rotated): token was rotated away");
        for status in [Status::unavailable("x"), Status::resource_exhausted("x"), Status::internal("x")] {
            assert!(matches!(judge(&gateway, &status), CloudError::Unreachable { .. }));
        }
    }

    #[tokio::test]
    async fn a_gateway_of_another_authority_is_told_with_its_remedy() {
        let gateway = Gateway::start(Arc::new(Site::new()), 1).await;
        let roots = Trust::from_pem(&Site::new().authority.bundle_pem()).unwrap();
        let tls = tls::agent_client(roots, None, ALPN).unwrap();
        let cloud = Cloud::new(vec![gateway.url.parse().unwrap()], Arc::new(Direct), tls);
        let asked = cloud.ask(|mut client| async move { client.renew(v1::RenewRequest::default()).await });
        let error = asked.await.unwrap_err();
        assert!(matches!(error, CloudError::Unreachable { .. }));
        assert!(error.to_string().contains("--ca"), "{error}");
    }

    #[test]
    fn causes_are_told_once_each() {
        #[derive(Debug, Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(causes(&Outer(io::Error::other("inner"))), "outer: inner");
    }
}
