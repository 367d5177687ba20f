//! gRPC in few words, over a connection that stays: the admin API as a program would use it that asks often, and what
//! members say to each other.
//!
//! Requests and answers are written by hand from `proto/`, the fields that are needed alone, so that nothing of the product's own
//! reading and writing can hide a fault. Calls block, like everything here; a thread beside them keeps the connection up.

use std::{error::Error, fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, runtime, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

use crate::tls::Credentials;

pub mod admin;
pub mod peer;

const DIAL_MAX: Duration = Duration::from_secs(3);

/// A client of one server. Dials when it is asked, and again when the connection was lost.
#[derive(Debug)]
pub struct Rpc {
    runtime: runtime::Runtime,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody can have got it: there was no connection.
    NotSent(String),
    /// What the server says, with its word for programs.
    Said { reason: String, message: String },
    /// It was sent, and what became of it nobody knows.
    Silence(String),
}

impl Rpc {
    /// To a gateway, whose certificate is for `name`, as a person.
    pub fn to_gateway(address: SocketAddr, name: &str, ca: &Path, token: &str) -> Self {
        let mut token: MetadataValue<Ascii> = format!("Bearer {token}").parse().expect("a token is ASCII");
        token.set_sensitive(true);
        Self::new(address, name, trusting(ca), Some(token))
    }

    /// To the agent with that id, as another of its group.
    pub fn to_peer(address: SocketAddr, id: &str, credentials: &Credentials) -> Self {
        let config = credentials.config("h2").expect("credentials of an agent");
        Self::new(address, &format!("{id}.agent.warren.internal"), config, None)
    }

    fn new(address: SocketAddr, name: &str, tls: ClientConfig, token: Option<MetadataValue<Ascii>>) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tls = TlsConnector::from(Arc::new(tls));
        let name = ServerName::try_from(name.to_owned()).expect("a server has a name");
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, name) = (tls.clone(), name.clone());
            async move { timeout(DIAL_MAX, dial(tls, name, address)).await? }
        });
        // The connector speaks TLS.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI");
        let entered = runtime.enter();
        let channel = endpoint.connect_with_connector_lazy(connector);
        drop(entered);
        Self { runtime, channel, token }
    }

    /// One call, such as `Config/Get`.
    pub fn call<Q, A>(&self, method: &str, ask: Q, within: Duration) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/warren.v1.{method}"));
        let path = path.map_err(|error| Failure::NotSent(format!("{method} is no method: {error}")))?;
        let mut request = Request::new(ask);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let mut client = Grpc::new(self.channel.clone());
        let work = async {
            client.ready().await.map_err(|error| not_sent(&error))?;
            let answer = client.unary(request, path, ProstCodec::<Q, A>::default()).await;
            answer.map(tonic::Response::into_inner).map_err(|status| read(&status))
        };
        let answered = self.runtime.block_on(async { timeout(within, work).await });
        answered.unwrap_or_else(|_| Err(Failure::Silence(format!("no answer within {within:?}"))))
    }
}

impl Failure {
    /// The server's word for programs; empty when it said nothing.
    pub fn reason(&self) -> &str {
        match self {
            Self::Said { reason, .. } => reason,
            Self::NotSent(_) | Self::Silence(_) => "",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Said { reason, message } => write!(f, "{reason}: {message}"),
            Self::Silence(why) => write!(f, "no answer: {why}"),
        }
    }
}

async fn dial(
    tls: TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(TokioIo::new(tls.connect(name, socket).await?))
}

fn trusting(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(ca).expect("a gateway has a root") {
        roots.add(root.expect("roots are PEM")).expect("roots are certificates");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("the provider speaks TLS 1.3");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn read(status: &Status) -> Failure {
    let reason = status.metadata().get("warren-reason").and_then(|word| word.to_str().ok());
    match (reason, status.source()) {
        (Some(reason), _) => {
            Failure::Said { reason: reason.to_owned(), message: status.message().to_owned() }
        }
        (None, Some(source)) if is_unconnected(source) => not_sent(source),
        (None, _) => Failure::Silence(format!("{status}")),
    }
}

fn not_sent(error: &(dyn Error + 'static)) -> Failure {
    let causes: Vec<_> = causes(error).map(ToString::to_string).collect();
    Failure::NotSent(causes.join(": "))
}

fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<tonic::ConnectError>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
