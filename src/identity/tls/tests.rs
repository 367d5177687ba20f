use std::time::{Duration, SystemTime};

use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use warren_core::id::{AgentId, GatewayId};

use super::*;
use crate::{
    AgentRequest, Authority, PeerIdentity, PrivateKey,
    authority::{AGENT_LIFETIME, GATEWAY_LIFETIME, agent_server_name, gateway_server_name},
};

type ServerSide = server::TlsStream<DuplexStream>;
type ClientSide = client::TlsStream<DuplexStream>;

const DAY: Duration = Duration::from_secs(24 * 3600);
const ALPN: &[&str] = &["h2", "http/1.1"];

fn now() -> SystemTime {
    SystemTime::now()
}

fn site() -> GroupId {
    GroupId::from_random(1)
}

/// One authority with a gateway of its own.
struct World {
    authority: Authority,
    trust: Arc<Trust>,
    gateway: Arc<SwappableKey>,
}

impl World {
    fn new() -> Self {
        Self::since(now())
    }

    fn since(made: SystemTime) -> Self {
        let authority = Authority::generate(made).unwrap();
        let trust = Trust::from_pem(&authority.bundle_pem()).unwrap();
        let gateway = gateway_key(&authority);
        Self { authority, trust, gateway }
    }

    fn agent(&self, group: GroupId, agent: u64) -> Arc<SwappableKey> {
        let (pem, key) = self.agent_pem(group, agent, now());
        SwappableKey::new(&pem, key.to_rustls()).unwrap()
    }

    fn agent_pem(&self, group: GroupId, agent: u64, made: SystemTime) -> (String, PrivateKey) {
        let key = PrivateKey::generate().unwrap();
        let request = AgentRequest::parse(&key.csr_der().unwrap()).unwrap();
        let agent = AgentId::from_random(agent);
        (self.authority.issue_agent(&request, group, agent, made, AGENT_LIFETIME).unwrap().pem, key)
    }

    fn gateway_server(&self) -> Arc<ServerConfig> {
        gateway_server(self.gateway.clone(), self.trust.clone(), ALPN).unwrap()
    }

    fn client(&self, key: Option<Arc<SwappableKey>>) -> Arc<ClientConfig> {
        agent_client(self.trust.clone(), key, &["http/1.1"]).unwrap()
    }

    fn peer_server(&self, agent: u64) -> Arc<ServerConfig> {
        peer_server(self.agent(site(), agent), self.trust.clone(), site(), &["h2"]).unwrap()
    }

    fn peer_client(&self, group: GroupId, expected: GroupId) -> Arc<ClientConfig> {
        peer_client(self.agent(group, 7), self.trust.clone(), expected, &["h2"]).unwrap()
    }
}

fn gateway_key(authority: &Authority) -> Arc<SwappableKey> {
    let names = ["gw.example".to_owned()];
    let id = GatewayId::from_random(1);
    let (issued, key) = authority.issue_gateway(id, &names, now(), GATEWAY_LIFETIME).unwrap();
    SwappableKey::new(&issued.pem, key.to_rustls()).unwrap()
}

/// A real handshake over an in-memory pipe, and one byte back: a client learns with its first read whether its
/// certificate was taken.
async fn meet(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: ServerName<'static>,
) -> (io::Result<ServerSide>, io::Result<ClientSide>) {
    let (ours, theirs) = tokio::io::duplex(16 * 1024);
    let serve = async {
        let mut stream = TlsAcceptor::from(server.clone()).accept(ours).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let call = async {
        let mut stream = TlsConnector::from(client.clone()).connect(name, theirs).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(serve, call) }).await.unwrap()
}

async fn to_gateway(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (io::Result<ServerSide>, io::Result<ClientSide>) {
    meet(server, client, ServerName::try_from("gw.example").unwrap()).await
}

fn identity(stream: &ServerSide) -> Result<PeerIdentity, IdentityError> {
    PeerIdentity::from_chain(stream.get_ref().1.peer_certificates(), now())
}

fn reason<T>(result: &io::Result<T>) -> &'static str {
    failure_reason(result.as_ref().err().expect("it was refused"))
}

async fn still_carries(server: &mut ServerSide, client: &mut ClientSide) -> bool {
    let mut got = [0; 4];
    server.write_all(b"ping").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut got).await.unwrap();
    &got == b"ping"
}

#[tokio::test]
async fn an_agent_is_known_by_its_certificate() {
    let world = World::new();
    let client = world.client(Some(world.agent(site(), 7)));
    let (server, client) = to_gateway(&world.gateway_server(), &client).await;
    let server = server.unwrap();
    let peer = identity(&server).unwrap();
    assert_eq!((peer.group, peer.agent), (site(), AgentId::from_random(7)));
    let tls = server.get_ref().1;
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.unwrap();
}

#[tokio::test]
async fn a_stranger_gets_in_but_has_no_identity() {
    let world = World::new();
    let (server, client) = to_gateway(&world.gateway_server(), &world.client(None)).await;
    assert_eq!(identity(&server.unwrap()), Err(IdentityError::NoCertificate));
    client.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (world, other) = (World::new(), World::new());
    let foreign = world.client(Some(other.agent(site(), 7)));
    let (server, client) = to_gateway(&world.gateway_server(), &foreign).await;
    assert_eq!(reason(&server), "unknown_issuer");
    assert_eq!(reason(&client), "unknown_issuer", "the agent is told why");
    let (_, client) = to_gateway(&other.gateway_server(), &world.client(None)).await;
    assert_eq!(reason(&client), "unknown_issuer", "nor is another's gateway believed");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_tls_and_by_our_own_check() {
    let world = World::since(now() - 30 * DAY);
    let (pem, key) = world.agent_pem(site(), 7, now() - 10 * DAY);
    let expired = SwappableKey::new(&pem, key.to_rustls()).unwrap();
    let (server, client) = to_gateway(&world.gateway_server(), &world.client(Some(expired))).await;
    assert_eq!(reason(&server), "cert_expired");
    assert_eq!(reason(&client), "cert_expired");

    let good = world.client(Some(world.agent(site(), 7)));
    let (server, _client) = to_gateway(&world.gateway_server(), &good).await;
    let server = server.unwrap();
    let later = PeerIdentity::from_chain(server.get_ref().1.peer_certificates(), now() + 8 * DAY);
    assert!(
        matches!(later, Err(IdentityError::Expired { .. })),
        "a live connection outlives its certificate"
    );
}

#[tokio::test]
async fn filler_in_the_chain_changes_nothing() {
    let world = World::new();
    let (own, key) = world.agent_pem(site(), 7, now());
    let (victim, _) = world.agent_pem(GroupId::from_random(9), 8, now());
    let stuffed = SwappableKey::new(&(own + &victim), key.to_rustls()).unwrap();
    let (server, _client) = to_gateway(&world.gateway_server(), &world.client(Some(stuffed))).await;
    let server = server.unwrap();
    assert_eq!(server.get_ref().1.peer_certificates().unwrap().len(), 2);
    assert_eq!(identity(&server).unwrap().agent, AgentId::from_random(7));

    // The victim's certificate in front would need the victim's key.
    let (own, key) = world.agent_pem(site(), 7, now());
    let swapped = SwappableKey::new(&(victim + &own), key.to_rustls());
    assert!(matches!(swapped, Err(TlsError::KeyMismatch { .. })));
}

#[tokio::test]
async fn a_gateways_certificate_does_not_pass_for_an_agents_nor_the_reverse() {
    let world = World::new();
    let (server, _client) =
        to_gateway(&world.gateway_server(), &world.client(Some(world.gateway.clone()))).await;
    assert_eq!(identity(&server.unwrap()), Err(IdentityError::NotAnAgent), "gateways dial gateways, as such");
    let posing = peer_client(world.gateway.clone(), world.trust.clone(), site(), &["h2"]).unwrap();
    let (server, _client) =
        meet(&world.peer_server(3), &posing, agent_server_name(AgentId::from_random(3))).await;
    assert_eq!(reason(&server), "not_an_agent");
    let posing = gateway_server(world.agent(site(), 7), world.trust.clone(), ALPN).unwrap();
    let (_, client) = to_gateway(&posing, &world.client(None)).await;
    assert_eq!(reason(&client), "wrong_name");
}

#[tokio::test]
async fn members_meet_members_of_their_own_group_only() {
    let world = World::new();
    let addressee = agent_server_name(AgentId::from_random(3));
    let server = world.peer_server(3);
    let (accepted, connected) = meet(&server, &world.peer_client(site(), site()), addressee.clone()).await;
    assert_eq!(identity(&accepted.unwrap()).unwrap().agent, AgentId::from_random(7));
    connected.unwrap();

    let other = GroupId::from_random(2);
    // `other` expects its own kind and refuses the server; with its check turned off the server refuses it.
    let (_, connected) = meet(&server, &world.peer_client(other, other), addressee.clone()).await;
    assert_eq!(reason(&connected), "other_group");
    let (accepted, connected) = meet(&server, &world.peer_client(other, site()), addressee.clone()).await;
    assert_eq!(reason(&accepted), "other_group");
    assert!(connected.is_err());
    let (accepted, connected) = meet(&server, &world.client(None), addressee.clone()).await;
    assert_eq!((reason(&accepted), reason(&connected)), ("no_protocol", "no_protocol"));
    let nobody = agent_client(world.trust.clone(), None, &["h2"]).unwrap();
    let (accepted, connected) = meet(&server, &nobody, addressee).await;
    assert_eq!(reason(&accepted), "no_certificate");
    assert_eq!(reason(&connected), "no_certificate");
}

#[tokio::test]
async fn another_member_than_the_one_dialled_is_refused() {
    let world = World::new();
    let client = world.peer_client(site(), site());
    let (_, connected) =
        meet(&world.peer_server(3), &client, agent_server_name(AgentId::from_random(4))).await;
    assert_eq!(reason(&connected), "wrong_name");
}

#[tokio::test]
async fn a_renewed_certificate_shows_at_once_and_cuts_nobody_off() {
    let world = World::new();
    let (server_config, agent) = (world.gateway_server(), world.agent(site(), 7));
    let client_config = world.client(Some(agent.clone()));
    let (server, client) = to_gateway(&server_config, &client_config).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let before = identity(&server).unwrap();
    let gateway_before = world.gateway.leaf();

    let (pem, key) = world.agent_pem(site(), 7, now());
    agent.swap(&pem, key.to_rustls()).unwrap();
    let names = ["gw.example".to_owned()];
    let (issued, key) =
        world.authority.issue_gateway(GatewayId::from_random(1), &names, now(), GATEWAY_LIFETIME).unwrap();
    world.gateway.swap(&issued.pem, key.to_rustls()).unwrap();

    assert!(still_carries(&mut server, &mut client).await, "what is up stays up");
    let (again, client) = to_gateway(&server_config, &client_config).await;
    let (again, client) = (again.unwrap(), client.unwrap());
    assert_ne!(identity(&again).unwrap().serial, before.serial, "the gateway sees the new one");
    let shown = client.get_ref().1.peer_certificates().unwrap();
    assert_eq!(shown[0], issued.der);
    assert_ne!(shown[0], gateway_before);
    assert_eq!(agent.validity().unwrap(), identity(&again).unwrap().validity);
}

#[tokio::test]
async fn no_handshake_is_ever_resumed() {
    let world = World::new();
    let server = world.gateway_server();
    let client = world.client(Some(world.agent(site(), 7)));
    for _ in 0..3 {
        let (accepted, connected) = to_gateway(&server, &client).await;
        assert_eq!(accepted.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connected.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
    // Nor does the server help a client that would like to.
    let mut eager = ClientConfig::clone(&client);
    eager.resumption = Resumption::in_memory_sessions(8);
    let eager = Arc::new(eager);
    for _ in 0..3 {
        let (accepted, _connected) = to_gateway(&server, &eager).await;
        assert_eq!(accepted.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn roots_rotate_without_cutting_anybody_off() {
    let (old, new) = (World::new(), World::new());
    let server = old.gateway_server();
    let (old_agent, new_agent) = (old.agent(site(), 7), new.agent(site(), 8));
    let both = old.authority.bundle_pem() + &new.authority.bundle_pem();

    let (up, client) = to_gateway(&server, &old.client(Some(old_agent.clone()))).await;
    let (mut up, mut client) = (up.unwrap(), client.unwrap());
    assert!(to_gateway(&server, &old.client(Some(new_agent.clone()))).await.0.is_err());

    old.trust.swap(roots_from_pem(&both).unwrap()).unwrap();
    assert!(to_gateway(&server, &old.client(Some(old_agent.clone()))).await.0.is_ok());
    assert!(to_gateway(&server, &old.client(Some(new_agent.clone()))).await.0.is_ok());

    // The gateway moves to the new authority, then the old root goes.
    let (pem, key) = {
        let names = ["gw.example".to_owned()];
        let id = GatewayId::from_random(1);
        let (issued, key) = new.authority.issue_gateway(id, &names, now(), GATEWAY_LIFETIME).unwrap();
        (issued.pem, key)
    };
    old.gateway.swap(&pem, key.to_rustls()).unwrap();
    old.trust.swap(roots_from_pem(&new.authority.bundle_pem()).unwrap()).unwrap();
    assert_eq!(reason(&to_gateway(&server, &new.client(Some(old_agent))).await.0), "unknown_issuer");
    assert!(to_gateway(&server, &new.client(Some(new_agent))).await.0.is_ok());
    assert!(still_carries(&mut up, &mut client).await);
}

#[test]
fn bad_material_has_its_own_error_and_leaves_the_old_in_place() {
    let world = World::new();
    let key = || PrivateKey::generate().unwrap().to_rustls();
    let before = world.gateway.leaf();
    assert!(matches!(world.gateway.swap("", key()), Err(TlsError::NoCertificate)));
    let (pem, _) = world.agent_pem(site(), 7, now());
    assert!(matches!(world.gateway.swap(&pem, key()), Err(TlsError::KeyMismatch { .. })));
    assert_eq!(world.gateway.leaf(), before);
    assert!(matches!(Trust::from_pem(""), Err(TlsError::NoRoots)));
    assert!(matches!(world.trust.swap(RootCertStore::empty()), Err(TlsError::NoRoots)));
    assert!(matches!(SwappableKey::key_from_pem("hello"), Err(TlsError::KeyUnreadable { .. })));
    let torn = &world.authority.bundle_pem()[..200];
    assert!(matches!(roots_from_pem(torn), Err(TlsError::RootsUnreadable { .. })));
}

#[test]
fn a_given_root_replaces_the_systems_and_the_learned_one_joins() {
    let (one, other) = (World::new().authority.bundle_pem(), World::new().authority.bundle_pem());
    assert_eq!(gateway_roots(Some(&one), None).unwrap().len(), 1);
    assert_eq!(gateway_roots(Some(&one), Some(&other)).unwrap().len(), 2);
    assert!(!gateway_roots(None, Some(&other)).unwrap().is_empty());
    assert!(matches!(gateway_roots(Some(""), None), Err(TlsError::NoRoots)));
}

#[tokio::test]
async fn gateways_know_each_other_by_their_ids() {
    let world = World::new();
    let neighbour = neighbour_client(gateway_key(&world.authority), world.trust.clone(), ALPN).unwrap();
    let name = |id| gateway_server_name(GatewayId::from_random(id));
    let (server, client) = meet(&world.gateway_server(), &neighbour, name(1)).await;
    let server = server.unwrap();
    let caller = crate::GatewayIdentity::from_chain(server.get_ref().1.peer_certificates());
    assert_eq!(caller.map(|caller| caller.gateway), Some(GatewayId::from_random(1)));
    assert_eq!(identity(&server), Err(IdentityError::NotAnAgent));
    client.unwrap();
    let (_, client) = meet(&world.gateway_server(), &neighbour, name(2)).await;
    assert_eq!(reason(&client), "wrong_name", "another one than the one meant");

    // An agent's own port, and a gateway of somebody else's.
    let member = agent_server_name(AgentId::from_random(7));
    let (server, client) = meet(&world.peer_server(7), &neighbour, member).await;
    assert!(server.is_err() && client.is_err());
    let stranger = neighbour_client(gateway_key(&World::new().authority), world.trust.clone(), ALPN).unwrap();
    let (server, _) = meet(&world.gateway_server(), &stranger, name(1)).await;
    assert_eq!(reason(&server), "unknown_issuer");
}
