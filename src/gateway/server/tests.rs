//! The whole gateway on loopback: real TLS, real enrolment, real tunnels.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tonic::{
    metadata::MetadataValue,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use warren_core::id::{AgentId, GroupId, Name};
use warren_identity::{PrivateKey, SwappableKey, Trust};
use warren_tunnel::{
    Budget, CloseReason, Handle, Hello, Role, SessionKind,
    dial::{DialError, Direct, dial},
    echo::serve_echo,
};
use warren_wire::v1::{self, enrolment_client::EnrolmentClient};

use super::*;
use crate::{
    config::Overrides,
    testing::{snapshot, until},
};

/// A gateway that runs.
struct Running {
    parts: Parts,
    ready: Ready,
    ca: String,
    drain: CancellationToken,
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

/// What an agent keeps.
struct Enrolled {
    group: GroupId,
    agent: AgentId,
    tls: Arc<rustls::ClientConfig>,
}

impl Running {
    async fn start(folder: &tempfile::TempDir, extra: &str) -> Self {
        let text = format!(
            "data_dir: {}\nlisten: 127.0.0.1:0\ndrain: 2s\ntunnel_wait: 1s\n{extra}",
            folder.path().join("gateway").display()
        );
        let config = GatewayConfig::parse("test", &text, &Overrides::default()).unwrap();
        let gateway = Gateway::build(config, Tracer::default()).await.unwrap();
        let (parts, ready) = (gateway.parts.clone(), gateway.ready().clone());
        let mut readiness = gateway.readiness();
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(gateway.run(drain.clone(), stop.clone()));
        readiness.wait_for(|ready| *ready).await.unwrap();
        let ca = std::fs::read_to_string(&ready.ca).unwrap();
        Self { parts, ready, ca, drain, stop, task }
    }

    fn tls(&self, key: Option<Arc<SwappableKey>>, alpn: &str) -> Arc<rustls::ClientConfig> {
        tls::agent_client(Trust::from_pem(&self.ca).unwrap(), key, &[alpn]).unwrap()
    }

    async fn channel(&self) -> Channel {
        let (address, config) = (self.ready.listen, self.tls(None, "h2"));
        let connector = tower::service_fn(move |_| {
            let config = config.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                let stream =
                    TlsConnector::from(config).connect("localhost".try_into().unwrap(), socket).await?;
                Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        Endpoint::from_static("http://gateway").connect_with_connector(connector).await.unwrap()
    }

    /// As people do it: a group, a token, an agent's key, its certificate.
    async fn enrol(&self, group: &str) -> Enrolled {
        let channel = self.channel().await;
        let token = std::fs::read_to_string(&self.ready.token).unwrap();
        let bearer: MetadataValue<_> = format!("Bearer {}", token.trim()).parse().unwrap();
        let admin = move |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        };
        let service = InterceptedService::new(channel.clone(), admin);
        let create = v1::CreateGroupRequest { name: group.to_owned(), customer: String::new() };
        v1::groups_client::GroupsClient::new(service.clone()).create(create).await.unwrap();
        let asked = v1::CreateTokenRequest { group: group.to_owned(), ..Default::default() };
        let token =
            v1::tokens_client::TokensClient::new(service).create(asked).await.unwrap().into_inner().token;
        let key = PrivateKey::generate().unwrap();
        let asked = v1::EnrolRequest {
            token,
            csr: key.csr_der().unwrap().into(),
            name: "a1".to_owned(),
            version: "0.1.0".to_owned(),
        };
        let enrolled = EnrolmentClient::new(channel).enrol(asked).await.unwrap().into_inner();
        let key = SwappableKey::new(&enrolled.certificate, key.to_rustls()).unwrap();
        Enrolled {
            group: enrolled.group_id.parse().unwrap(),
            agent: enrolled.agent_id.parse().unwrap(),
            tls: self.tls(Some(key), "http/1.1"),
        }
    }

    async fn dial(&self, tls: Arc<rustls::ClientConfig>) -> Result<Handle, DialError> {
        let url = format!("https://127.0.0.1:{}", self.ready.listen.port());
        let dialed = dial(&url, tls, &Direct).await?;
        let (config, hello) = (warren_tunnel::Config::default(), Hello::new(5, 1, 0));
        let budget = Budget::new(1 << 30);
        let (handle, driver) =
            warren_tunnel::run(dialed.stream, dialed.read_buf, Role::Agent, config, hello, &budget);
        tokio::spawn(driver);
        let serving = handle.clone();
        tokio::spawn(async move {
            while let Some(incoming) = serving.accept().await {
                match incoming.request().kind {
                    SessionKind::Control => {
                        incoming.refuse(warren_tunnel::OpenResult::Unknown, "no group here")
                    }
                    _ => drop(tokio::spawn(serve_echo(incoming.accept()))),
                }
            }
        });
        Ok(handle)
    }

    async fn connected(&self, group: GroupId) {
        until("the tunnel is verified", || !self.parts.registry.tunnels().is_empty()).await;
        assert!(self.parts.registry.group(group).is_some());
    }

    /// Tells the gateway of a resource, and gives the address that it got.
    async fn resource(&self, enrolled: &Enrolled, resource: &str) -> SocketAddr {
        let tunnel = self.parts.registry.tunnels().remove(0);
        let mut view = snapshot(1, &[1], &[resource]);
        let member = view.members.pop_first().unwrap().1;
        view.members.insert(enrolled.agent, member);
        view.member = enrolled.agent;
        self.parts.registry.observe(&tunnel, view);
        let name: Name = resource.parse().unwrap();
        let address = || self.parts.ingress.address(enrolled.group, &name);
        until("the resource listens", || address().is_some()).await;
        address().unwrap()
    }
}

async fn echoes(address: SocketAddr) -> TcpStream {
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"x").await.unwrap();
    assert_eq!(caller.read_u8().await.unwrap(), b'x');
    caller
}

#[tokio::test]
async fn an_agent_enrols_carries_sessions_and_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "").await;
    let enrolled = gateway.enrol("site").await;
    let handle = gateway.dial(enrolled.tls.clone()).await.unwrap();
    gateway.connected(enrolled.group).await;
    let address = gateway.resource(&enrolled, "db").await;
    let mut caller = echoes(address).await;
    gateway.parts.foundation.store.revoke_agent(enrolled.agent, 1).await.unwrap();
    // Nobody tells this gateway: it reads the store's news by itself.
    let closed = timeout(Duration::from_secs(5), handle.closed()).await.unwrap();
    assert_eq!(closed.reason, CloseReason::Revoked);
    assert_eq!(caller.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let Err(DialError::Rejected { status, body }) = gateway.dial(enrolled.tls.clone()).await else {
        panic!("a revoked agent came in")
    };
    assert_eq!(status, 403);
    assert!(body.contains("was revoked"), "{body}");
    gateway.stop.cancel();
    gateway.task.await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_of_ours_there_is_no_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "").await;
    let none = gateway.dial(gateway.tls(None, "http/1.1")).await.err();
    assert!(matches!(none, Some(DialError::Rejected { status: 401, .. })), "{none:?}");
    let other = tempfile::tempdir().unwrap();
    let stranger = Running::start(&other, "").await.enrol("site").await;
    // Its certificate is of another authority, and so is the root that it trusts.
    let refused = gateway.dial(stranger.tls).await.err();
    assert!(matches!(refused, Some(DialError::Tls { .. })), "{refused:?}");
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "limits:\n  handshakes: 100\n").await;
    let enrolled = gateway.enrol("site").await;
    let mut silent = Vec::new();
    // More than there are places, fewer than a process may commonly have open.
    for _ in 0..300 {
        silent.push(TcpStream::connect(gateway.ready.listen).await.unwrap());
    }
    let begun = Instant::now();
    gateway.dial(enrolled.tls.clone()).await.unwrap();
    gateway.connected(enrolled.group).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // They are shown out: the oldest at once, the rest at the deadline.
    let mut byte = [0];
    let oldest = timeout(Duration::from_secs(1), silent[0].read(&mut byte)).await.unwrap();
    assert!(!matches!(oldest, Ok(1..)));
    let last = timeout(Duration::from_secs(8), silent[299].read(&mut byte)).await.unwrap();
    assert!(!matches!(last, Ok(1..)));
}

#[tokio::test]
async fn strangers_who_ask_and_stay_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "limits:\n  connections: 40\n").await;
    let enrolled = gateway.enrol("site").await;
    let mut strangers = Vec::new();
    for _ in 0..60 {
        let channel = gateway.channel().await;
        let mut groups = v1::groups_client::GroupsClient::new(channel);
        let refused = groups.list(v1::ListGroupsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        strangers.push(groups);
    }
    gateway.dial(enrolled.tls.clone()).await.unwrap();
    gateway.connected(enrolled.group).await;
}

#[tokio::test]
async fn a_stop_lets_sessions_end_and_cuts_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "").await;
    let enrolled = gateway.enrol("site").await;
    let handle = gateway.dial(enrolled.tls.clone()).await.unwrap();
    gateway.connected(enrolled.group).await;
    let address = gateway.resource(&enrolled, "db").await;
    let (mut ends, mut stays) = (echoes(address).await, echoes(address).await);
    gateway.drain.cancel();
    until("the agent is told", || handle.status().borrow().peer_drain.is_some()).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody new");
    ends.write_all(b"y").await.unwrap();
    assert_eq!(ends.read_u8().await.unwrap(), b'y');
    ends.shutdown().await.unwrap();
    assert_eq!(ends.read(&mut [0]).await.unwrap(), 0);
    let begun = Instant::now();
    assert_eq!(gateway.task.await.unwrap(), 1, "one session was cut");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(stays.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(timeout(Duration::from_secs(2), handle.closed()).await.unwrap().reason, CloseReason::Shutdown);
}

#[tokio::test]
async fn a_restart_keeps_identities_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::start(&folder, "").await;
    let enrolled = gateway.enrol("site").await;
    gateway.dial(enrolled.tls.clone()).await.unwrap();
    gateway.connected(enrolled.group).await;
    let address = gateway.resource(&enrolled, "db").await;
    let (id, port) = (gateway.ready.id, gateway.ready.listen.port());
    gateway.stop.cancel();
    gateway.task.await.unwrap();
    let again = Running::start(&folder, "").await;
    assert_eq!((again.ready.id, again.ca.as_str()), (id, gateway.ca.as_str()));
    assert_ne!(port, 0);
    again.dial(enrolled.tls.clone()).await.unwrap();
    again.connected(enrolled.group).await;
    assert_eq!(again.resource(&enrolled, "db").await, address);
    echoes(address).await;
}
