//! Calls to the gateway outside the tunnels: enrolment, renewal, introduction.

use std::{error::Error, future, io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use warren_identity::tls;
use warren_tunnel::dial::{Connector, DialError};
use warren_wire::v1::enrolment_client::EnrolmentClient;

use crate::{
    config::GatewayUrl,
    inspection::{self, GatewayTls, Opened},
};

/// How long TLS may take, and HTTP/2 over it. What dials gives up by itself.
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// How long one call may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where a gateway says in one word why it refused.
const REASON: &str = "warren-reason";
/// The reason that stands for a revoked agent.
const REVOKED: &str = "revoked";
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
    /// A proxy does not let this agent through: asking again is fine, but somebody has to change something first.
    #[error("cannot reach {gateway}: {why}")]
    Barred { gateway: String, why: String },
}

/// The gateways, and how they are reached.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    gateways: Vec<GatewayUrl>,
    connector: Arc<dyn Connector>,
    tls: GatewayTls,
}

impl Cloud {
    /// `tls` must ask for [`ALPN`].
    pub(crate) fn new(gateways: Vec<GatewayUrl>, connector: Arc<dyn Connector>, tls: GatewayTls) -> Self {
        Self { gateways, connector, tls }
    }

    /// Asks one gateway after the other until one has agreed; each takes 35 s at most, behind a proxy. Gives the first
    /// refusal, or else the last trouble on the way. A revocation is final, whatever the others would say.
    pub(crate) async fn ask<T, F>(
        &self,
        call: impl Fn(EnrolmentClient<Channel>) -> F,
    ) -> Result<T, CloudError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (mut refusal, mut trouble) = (None, None);
        for gateway in &self.gateways {
            match self.ask_one(gateway, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(%gateway, %error, "gateway passed over");
                    match error {
                        CloudError::Refused { ref reason, .. } if reason == REVOKED => return Err(error),
                        CloudError::Refused { .. } => refusal = refusal.or(Some(error)),
                        CloudError::Unreachable { .. } | CloudError::Barred { .. } => trouble = Some(error),
                    }
                }
            }
        }
        Err(refusal.or(trouble).unwrap_or_else(|| CloudError::Unreachable {
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
        let (stream, opened) = self.dial(gateway).await?;
        opened.warn(gateway);
        let channel = timeout(STEP_WITHIN, channel(gateway, stream))
            .await
            .map_err(|_| unreachable(format!("no HTTP/2 within {STEP_WITHIN:?}")))?
            .map_err(|error| unreachable(causes(&error)))?;
        let answer = timeout(ANSWER_WITHIN, call(EnrolmentClient::new(channel)))
            .await
            .map_err(|_| unreachable(format!("no answer within {ANSWER_WITHIN:?}")))?;
        answer.map(Response::into_inner).map_err(|status| judge(gateway, &status, &opened))
    }

    async fn dial(&self, gateway: &GatewayUrl) -> Result<(TlsStream<TcpStream>, Opened), CloudError> {
        let unreachable = |why: String| CloudError::Unreachable { gateway: gateway.to_string(), why };
        let reached = self.connector.connect(gateway.host(), gateway.port()).await;
        let socket = reached.map_err(|error| match needs_people(&error) {
            true => CloudError::Barred { gateway: gateway.to_string(), why: causes(&error) },
            false => unreachable(causes(&error)),
        })?;
        let name = ServerName::try_from(gateway.host().to_owned())
            .map_err(|error| unreachable(error.to_string()))?;
        let (tls, opened) = self.tls.begin();
        let stream = timeout(STEP_WITHIN, TlsConnector::from(tls).connect(name, socket))
            .await
            .map_err(|_| unreachable(format!("no TLS within {STEP_WITHIN:?}")))?
            .map_err(|error| unreachable(causes(&with_advice(error))))?;
        Ok((stream, opened))
    }
}

/// Whether a proxy on the way does not let us through, and will not before somebody has changed something.
pub(crate) fn needs_people(error: &DialError) -> bool {
    matches!(error, DialError::Proxy(error) if error.failure.needs_people())
}

/// HTTP/2 over a connection that is there already; it serves one call and is not made anew.
async fn channel(
    gateway: &GatewayUrl,
    stream: TlsStream<TcpStream>,
) -> Result<Channel, tonic::transport::Error> {
    // http:// because tonic would put a TLS of its own under https://; the name is for the :authority header only.
    let authority = format!("http://{}:{}", bracketed(gateway.host()), gateway.port());
    let mut stream = Some(TokioIo::new(stream));
    let hand_over = service_fn(move |_| {
        future::ready(stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    Endpoint::from_shared(authority)?.connect_with_connector(hand_over).await
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

fn judge(gateway: &GatewayUrl, status: &Status, opened: &Opened) -> CloudError {
    let advice = match status.code() {
        Code::Unauthenticated if opened.is_opened() => format!("; {}", inspection::advice(gateway)),
        _ => String::new(),
    };
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
            message: format!("{}{advice}", status.message()),
        },
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};
    use warren_identity::Trust;
    use warren_tunnel::dial::{Direct, ViaProxy};
    use warren_wire::v1;

    use super::*;
    use crate::testing::{
        Site,
        gateway::{Gateway, TOKEN, closed_port},
    };

    #[test]
    fn a_refusal_is_told_from_trouble() {
        let gateway = "https://gw.corp".parse().unwrap();
        let mut refused = Status::permission_denied("token was rotated away");
        refused.metadata_mut().insert(REASON, "token_rotated".parse().unwrap());
        let told = judge(&gateway, &refused, &Opened::default());
        assert!(matches!(&told, CloudError::Refused { reason, .. } if reason == "token_rotated"));
        assert_eq!(told.to_string(), "https://gw.corp:443 refused (token_rotated): token was rotated away");
        for status in [Status::unavailable("x"), Status::resource_exhausted("x"), Status::internal("x")] {
            assert!(matches!(judge(&gateway, &status, &Opened::default()), CloudError::Unreachable { .. }));
        }
    }

    #[tokio::test]
    async fn a_gateway_of_another_authority_is_told_with_its_remedy() {
        let gateway = Gateway::start(Arc::new(Site::new()), 1).await;
        let roots = Trust::from_pem(&Site::new().authority.bundle_pem()).unwrap();
        let tls = GatewayTls::new(roots, None, None, ALPN).unwrap();
        let cloud = Cloud::new(vec![gateway.url.parse().unwrap()], Arc::new(Direct), tls);
        let asked = cloud.ask(|mut client| async move { client.renew(v1::RenewRequest::default()).await });
        let error = asked.await.unwrap_err();
        assert!(matches!(error, CloudError::Unreachable { .. }));
        assert!(error.to_string().contains("--ca"), "{error}");
    }

    #[tokio::test]
    async fn the_next_gateway_is_asked_when_one_is_dead_silent_or_refuses() {
        let site = Arc::new(Site::new());
        let (refusing, good) = (Gateway::start(site.clone(), 1).await, Gateway::start(site.clone(), 1).await);
        refusing.refuse_tokens();
        // It takes connections and never says a word.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = closed_port().await;
        let silent_url = format!("https://{}", silent.local_addr().unwrap());
        let roots = || Trust::from_pem(&site.authority.bundle_pem()).unwrap();
        let ask = async |urls: &[&str]| {
            let gateways = urls.iter().map(|url| url.parse().unwrap()).collect();
            let tls = GatewayTls::new(roots(), None, None, ALPN).unwrap();
            let cloud = Cloud::new(gateways, Arc::new(Direct), tls);
            let csr = warren_identity::PrivateKey::generate().unwrap().csr_der().unwrap();
            let request = v1::EnrolRequest { token: TOKEN.into(), csr: csr.into(), ..Default::default() };
            cloud
                .ask(|mut client| {
                    let request = request.clone();
                    async move { client.enrol(request).await }
                })
                .await
        };
        let dead = format!("https://{dead}");
        ask(&[&dead, &silent_url, &refusing.url, &good.url]).await.unwrap();
        assert_eq!((refusing.enrolled(), good.enrolled()), (0, 1));
        let error = ask(&[&refusing.url, &dead]).await.unwrap_err();
        assert!(matches!(error, CloudError::Refused { .. }), "{error}");
        let error = ask(&[&dead]).await.unwrap_err();
        assert!(matches!(error, CloudError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_us_is_named_and_is_no_passing_trouble() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.write_all(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n").await.unwrap();
                // Until it has been read.
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            }
        });
        let proxy = format!("http://user:secret@{place}").parse().unwrap();
        let tls =
            GatewayTls::new(Trust::from_pem(&Site::new().authority.bundle_pem()).unwrap(), None, None, ALPN);
        let cloud = Cloud::new(
            vec!["https://gw.example".parse().unwrap()],
            Arc::new(ViaProxy::new(proxy, Vec::new())),
            tls.unwrap(),
        );
        let asked = cloud.ask(|mut client| async move { client.renew(v1::RenewRequest::default()).await });
        let error = asked.await.unwrap_err();
        assert!(matches!(error, CloudError::Barred { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot reach https://gw.example:443: proxy http://{place} refused our user name or password (407)"
            )
        );
    }

    #[test]
    fn causes_are_told_once_each() {
        #[derive(Debug, Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(causes(&Outer(io::Error::other("inner"))), "outer: inner");
    }
}
