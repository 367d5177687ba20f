//! The part of a gateway that an agent meets: enrolment and tunnels on one port. It keeps nothing.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, service::Routes};
use tower::ServiceExt;
use warren_core::id::{AgentId, GatewayId, GroupId};
use warren_identity::{PeerIdentity, SwappableKey, Trust, tls};
use warren_tunnel::{Budget, Config, Handle, Hello, Role, echo::check_echo, upgrade};
use warren_wire::v1::{self, enrolment_server::EnrolmentServer};

use super::{PATIENCE, Site};

/// The one token that enrols.
pub(crate) const TOKEN: &str = "good";

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
    pub(crate) tunnels: mpsc::Receiver<Handle>,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    site: Arc<Site>,
    group: GroupId,
    seen: Mutex<Seen>,
    tunnels: mpsc::Sender<Handle>,
}

#[derive(Debug, Default)]
struct Seen {
    enrolled: u64,
    renewed: u64,
    revoked: bool,
    refuses_tokens: bool,
    founded: bool,
    peers: Vec<(AgentId, String)>,
}

impl Gateway {
    pub(crate) async fn start(site: Arc<Site>, group: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let ca = site.folder("ca.pem");
        std::fs::write(&ca, site.authority.bundle_pem()).unwrap();
        let names = ["127.0.0.1".to_owned()];
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        let (issued, key) =
            site.authority.issue_gateway(GatewayId::from_random(1), &names, now, day).unwrap();
        let shown = SwappableKey::new(&issued.pem, key.to_rustls()).unwrap();
        let trust = Trust::from_pem(&site.authority.bundle_pem()).unwrap();
        let tls = tls::gateway_server(shown, trust, &["h2", "http/1.1"]).unwrap();
        let (tunnels_tx, tunnels) = mpsc::channel(16);
        let group = GroupId::from_random(group);
        let facts = Arc::new(Facts { site, group, seen: Mutex::default(), tunnels: tunnels_tx });
        let routes = Routes::new(EnrolmentServer::new(Enrolment(facts.clone()))).into_axum_router();
        let app = Router::new().route(upgrade::PATH, get(tunnel)).with_state(facts.clone()).merge(routes);
        tokio::spawn(accept(listener, TlsAcceptor::from(tls), app));
        Self { url, ca, tunnels, facts }
    }

    /// The next tunnel, proven by an echo.
    pub(crate) async fn tunnel(&mut self) -> Handle {
        let handle = tokio::time::timeout(PATIENCE, self.tunnels.recv()).await.unwrap().unwrap();
        check_echo(&handle, PATIENCE).await.unwrap();
        handle
    }

    pub(crate) fn enrolled(&self) -> u64 {
        self.facts.seen.lock().unwrap().enrolled
    }

    pub(crate) fn renewed(&self) -> u64 {
        self.facts.seen.lock().unwrap().renewed
    }

    /// From here on no token is good.
    pub(crate) fn refuse_tokens(&self) {
        self.facts.seen.lock().unwrap().refuses_tokens = true;
    }

    pub(crate) fn revoke_all(&self) {
        self.facts.seen.lock().unwrap().revoked = true;
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, app: Router) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let peer = PeerIdentity::from_chain(stream.get_ref().1.peer_certificates(), SystemTime::now());
            let app = app.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
                if let Ok(peer) = &peer {
                    request.extensions_mut().insert(peer.clone());
                }
                request.map(Body::new)
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(app);
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

async fn tunnel(State(facts): State<Arc<Facts>>, mut request: Request) -> Response {
    let refused = |status: u16, reason: &str, text: &str| {
        let body = Body::from(text.to_owned());
        Response::builder().status(status).header("warren-reason", reason).body(body).unwrap()
    };
    if request.extensions().get::<PeerIdentity>().is_none() {
        return refused(401, "no_certificate", "peer showed no certificate");
    }
    if facts.seen.lock().unwrap().revoked {
        return refused(403, "revoked", "agent was revoked");
    }
    let (response, upgrading) = match upgrade::upgrade(&mut request) {
        Ok(begun) => begun,
        Err(error) => return refused(400, "upgrade", &error.to_string()),
    };
    tokio::spawn(async move {
        let upgraded = upgrading.stream::<tokio_rustls::server::TlsStream<TcpStream>>().await.unwrap();
        let (hello, budget) = (Hello::new(1, 0, 0), Budget::default());
        let (handle, driver) = warren_tunnel::run(
            upgraded.stream,
            upgraded.read_buf,
            Role::Gateway,
            Config::default(),
            hello,
            &budget,
        );
        tokio::spawn(driver);
        if handle.ready().await.is_ok() {
            let _ = facts.tunnels.send(handle).await;
        }
    });
    response
}

struct Enrolment(Arc<Facts>);

impl Enrolment {
    fn issue(&self, csr: &[u8], agent: AgentId) -> (String, String) {
        let issued = self.0.site.issue(csr, self.0.group, agent);
        (issued.certificate, issued.bundle)
    }
}

fn known<T>(request: &tonic::Request<T>) -> Result<AgentId, Status> {
    let peer = request.extensions().get::<PeerIdentity>();
    peer.map(|peer| peer.agent).ok_or_else(|| Status::unauthenticated("no certificate"))
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for Enrolment {
    async fn enrol(
        &self,
        request: tonic::Request<v1::EnrolRequest>,
    ) -> Result<tonic::Response<v1::EnrolResponse>, Status> {
        let request = request.into_inner();
        if request.token != TOKEN || self.0.seen.lock().unwrap().refuses_tokens {
            let mut status = Status::permission_denied("token was rotated away");
            status.metadata_mut().insert("warren-reason", "token_rotated".parse().unwrap());
            return Err(status);
        }
        let number = {
            let mut seen = self.0.seen.lock().unwrap();
            seen.enrolled += 1;
            seen.enrolled
        };
        let agent = AgentId::from_random(number);
        let (certificate, bundle) = self.issue(&request.csr, agent);
        Ok(tonic::Response::new(v1::EnrolResponse {
            agent_id: agent.to_string(),
            group_id: self.0.group.to_string(),
            group_name: "site".into(),
            certificate,
            bundle,
            not_after_s: 0,
        }))
    }

    async fn renew(
        &self,
        request: tonic::Request<v1::RenewRequest>,
    ) -> Result<tonic::Response<v1::RenewResponse>, Status> {
        let agent = known(&request)?;
        self.0.seen.lock().unwrap().renewed += 1;
        let (certificate, bundle) = self.issue(&request.get_ref().csr, agent);
        Ok(tonic::Response::new(v1::RenewResponse { certificate, bundle, not_after_s: 0 }))
    }

    async fn introduce(
        &self,
        request: tonic::Request<v1::IntroduceRequest>,
    ) -> Result<tonic::Response<v1::IntroduceResponse>, Status> {
        let agent = known(&request)?;
        let asked = request.into_inner();
        let mut seen = self.0.seen.lock().unwrap();
        let found = !asked.has_log && !std::mem::replace(&mut seen.founded, true);
        let others = seen.peers.iter().filter(|(id, _)| *id != agent);
        let peers = others.map(|(id, address)| v1::introduce_response::Peer {
            id: id.to_string(),
            address: address.clone(),
        });
        let answer = v1::IntroduceResponse { found, peers: peers.collect() };
        seen.peers.retain(|(id, _)| *id != agent);
        seen.peers.push((agent, asked.peer_address));
        Ok(tonic::Response::new(answer))
    }

    async fn leave(
        &self,
        request: tonic::Request<v1::LeaveRequest>,
    ) -> Result<tonic::Response<v1::LeaveResponse>, Status> {
        known(&request)?;
        Ok(tonic::Response::new(v1::LeaveResponse {}))
    }
}

/// A port on which nothing listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
