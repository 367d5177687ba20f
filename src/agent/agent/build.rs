//! From a configuration to an agent that is about to serve.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use thiserror::Error;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, watch},
    time::timeout,
};
use warren_core::trace::Tracer;
use warren_group::{Group, OpenError, Options};
use warren_identity::{TlsError, Trust, tls};
use warren_tunnel::{Budget, Bundles, Config as TunnelConfig, Role, dial::Connector};

use super::{Agent, Parts, Ready, readiness};
use crate::{
    cloud::{self, Cloud},
    config::{AgentConfig, Token},
    control::Desk,
    departure::Departure,
    enrol::{self, EnrolError},
    identity::{Folder, Identity, StoredIdentityError},
    inspection::GatewayTls,
    membership::Membership,
    metrics,
    peers::{Dialer, Listener},
    probes::Probes,
    renewal::{Again, Renewal},
    sessions::{Limits, Sessions},
    targets::Targets,
    uplink::{self, Uplink, Wiring},
    vitals::Vitals,
};

/// A documentation address (RFC 5737), for the route to anywhere; nothing is sent there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);
/// How long the way to the gateway is looked for, to learn our own address on it.
const ROUTE_WITHIN: Duration = Duration::from_secs(2);

/// Why an agent cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("cannot keep this agent's identity, give a --data-dir that it may write to")]
    Identity(#[from] StoredIdentityError),
    #[error("cannot read the roots in `{}`", path.display())]
    Ca { path: PathBuf, source: io::Error },
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address} for the group's members")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot enrol")]
    Enrol(#[from] EnrolError),
    #[error("cannot open the group's log")]
    Group(#[from] OpenError),
}

impl StartError {
    /// The process's exit code: 2 for what the admin has to set right, 3 for a token
    /// that is refused and for a group that was recovered without this agent, otherwise 1.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Ca { .. } | Self::Enrol(EnrolError::NoToken | EnrolError::TokenFile { .. }) => 2,
            Self::Enrol(EnrolError::Refused(_)) | Self::Group(OpenError::Superseded { .. }) => 3,
            Self::Identity(_) | Self::Tls(_) | Self::Listen { .. } | Self::Enrol(_) | Self::Group(_) => 1,
        }
    }
}

pub(super) async fn build(config: AgentConfig, tracer: Tracer) -> Result<Agent, StartError> {
    let folder = Folder::open(&config.data_dir)?;
    if let Some(left) = folder.forget_left()? {
        tracing::info!(agent = left, "left its group for good, enrolling anew under another id");
    }
    // A wish from before this start is void: it was for a stop that did not come to it.
    folder.take_leave_note(SystemTime::now())?;
    config.way.tell(&config.gateways);
    let (connector, extra) = (config.way.connector(), extra_roots(&config)?);
    // Before enrolling: a port that is taken should not cost a use of the token.
    let socket = bind(&config, &folder).await?;
    let identity = Arc::new(identify(&config, &folder, &connector, extra.clone()).await?);
    let peer = advertised(&config, &folder, &socket).await?;
    let facts = Ready {
        id: identity.facts.agent,
        group: identity.facts.group,
        group_name: identity.facts.group_name.clone(),
        peer,
    };
    tell_metrics(&facts, &config.name);

    let group = open_group(&config, &facts, &identity).await?;
    let (live, _) = watch::channel(Arc::new(config.live.clone()));
    let targets = Targets::new(group.watch(), live.subscribe());
    let limits = Limits { sessions: config.sessions_max, pending_dials: config.pending_dials_max };
    let sessions = Sessions::new(targets.clone(), group.watch(), live.subscribe(), limits, tracer);
    let tls = |shown, alpn| GatewayTls::new(identity.gateways.clone(), extra.clone(), shown, alpn);
    let shown = || Some(identity.shown.clone());
    let cloud = Cloud::new(config.gateways.clone(), connector.clone(), tls(shown(), cloud::ALPN)?);
    let (renewed_tx, renewed) = mpsc::channel(1);
    let again = match config.token.clone() {
        Some(token) => {
            // An expired certificate, shown, would end the handshake.
            let cloud = Cloud::new(config.gateways.clone(), connector.clone(), tls(None, cloud::ALPN)?);
            Some(Again { cloud, token, name: config.name.clone() })
        }
        None => None,
    };
    let (vitals, vitals_seen) = Vitals::new(config.data_dir.clone());
    let machine = TunnelConfig { resume_within: config.resume_within, ..TunnelConfig::default() };
    let wiring = Wiring {
        gateways: config.gateways.clone(),
        connector,
        tls: tls(shown(), uplink::ALPN)?,
        sessions: sessions.clone(),
        desk: Desk::new(group.clone(), identity.clone(), sessions.carried(), vitals_seen),
        bundles: Bundles::new(Role::Agent, machine, Budget::default()),
        boot: folder.next_boot(SystemTime::now(), rand::random())?,
    };
    let (uplink, tunnels, uplink_status) = Uplink::new(wiring, config.tunnels);
    let membership = Membership {
        group: group.clone(),
        cloud: cloud.clone(),
        me: facts.id,
        name: config.name.clone(),
        address: facts.peer.clone(),
        app: config.app.clone(),
    };
    let departure = Departure { group: group.clone(), cloud: cloud.clone(), folder, me: facts.id };
    let parts = Parts {
        listener: Listener::new(socket, &identity)?,
        uplink,
        renewed,
        probes: Probes::new(group.clone(), targets, live.subscribe()),
        vitals,
        membership,
        renewal: Renewal::new(identity, cloud, renewed_tx).with_token(again),
    };
    let readiness = readiness::Board::new();
    Ok(Agent { config, facts, group, live, sessions, tunnels, departure, uplink_status, readiness, parts })
}

/// Whoever watches must see an agent that has no tunnel yet, and whose it is.
fn tell_metrics(facts: &Ready, name: &str) {
    let labels =
        [("group", facts.group_name.clone()), ("member", name.to_owned()), ("id", facts.id.to_string())];
    ::metrics::gauge!(metrics::INFO, &labels).set(1.0);
    ::metrics::gauge!(metrics::TUNNELS).set(0.0);
}

async fn bind(config: &AgentConfig, folder: &Folder) -> Result<TcpListener, StartError> {
    let address = config.peer_listen;
    let failed = |source| StartError::Listen { address, source };
    let socket = Listener::bind(address, folder.remembered_port()).await.map_err(failed)?;
    if address.port() == 0 {
        folder.remember_port(socket.local_addr().map_err(failed)?.port())?;
    }
    Ok(socket)
}

/// The identity on disk, or a new one for the token.
async fn identify(
    config: &AgentConfig,
    folder: &Folder,
    connector: &Arc<dyn Connector>,
    extra: Option<Arc<Trust>>,
) -> Result<Identity, StartError> {
    let ca = config.ca.as_deref().map(read_roots).transpose()?;
    if let Some(identity) = folder.identity(ca.as_deref())? {
        warn_of_other_group(&identity, config.token.as_ref());
        return Ok(identity);
    }
    let roots = Trust::new(tls::gateway_roots(ca.as_deref(), None)?)?;
    let tls = GatewayTls::new(roots, extra, None, cloud::ALPN)?;
    let cloud = Cloud::new(config.gateways.clone(), connector.clone(), tls);
    enrol::enrol(&cloud, folder, config.token.as_ref(), &config.name).await?;
    let path = config.data_dir.join("agent.json");
    Ok(folder.identity(ca.as_deref())?.ok_or(StoredIdentityError::Missing { path })?)
}

/// The identity wins over the token: moving an agent to another group takes an empty data folder.
fn warn_of_other_group(identity: &Identity, token: Option<&Token>) {
    let claimed = token.and_then(|token| token.read().ok()).and_then(|text| enrol::claimed_group(&text));
    let own = identity.facts.group;
    if let Some(other) = claimed.filter(|group| *group != own) {
        tracing::warn!(%own, %other, "the token is for another group and is not used: this agent is enrolled already");
    }
}

/// The roots of proxies that open TLS, all in one.
pub(crate) fn extra_roots(config: &AgentConfig) -> Result<Option<Arc<Trust>>, StartError> {
    let files = config.extra_ca.iter().map(|path| read_roots(path));
    let pem = files.collect::<Result<Vec<_>, _>>()?;
    Ok(if pem.is_empty() { None } else { Some(Trust::from_pem(&pem.join("\n"))?) })
}

pub(crate) fn read_roots(path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|source| StartError::Ca { path: path.to_owned(), source })
}

async fn open_group(config: &AgentConfig, facts: &Ready, identity: &Identity) -> Result<Group, StartError> {
    let options = Options {
        group: facts.group,
        me: facts.id,
        name: config.name.clone(),
        peer_address: facts.peer.clone(),
        version: crate::VERSION.to_owned(),
        data_dir: config.data_dir.clone(),
        profile: config.profile,
    };
    Ok(Group::open(options, Arc::new(Dialer::new(identity)?)).await?)
}

/// What the other members are told.
async fn advertised(
    config: &AgentConfig,
    folder: &Folder,
    socket: &TcpListener,
) -> Result<String, StartError> {
    if let Some(place) = &config.peer_advertise {
        return Ok(place.to_string());
    }
    let failed = |source| StartError::Listen { address: config.peer_listen, source };
    let mut bound = socket.local_addr().map_err(failed)?;
    if bound.ip().is_unspecified() {
        bound.set_ip(own_address(config, folder).await?);
    }
    Ok(bound.to_string())
}

/// The address of the interface towards a gateway, or towards the proxy before it. A name service that is away must not move the member: then it is the
/// one that others were told before, as long as it is ours, or that of the interface to the rest of the world.
async fn own_address(config: &AgentConfig, folder: &Folder) -> Result<IpAddr, StartError> {
    if let Ok(Some(found)) = timeout(ROUTE_WITHIN, towards_a_gateway(config)).await {
        folder.remember_address(found)?;
        return Ok(found);
    }
    let before = folder.remembered_address();
    let kept = before.filter(|address| std::net::UdpSocket::bind((*address, 0)).is_ok());
    if let Some(address) = kept.or(source_towards(ELSEWHERE).await).or(before) {
        tracing::warn!(%address, "no gateway can be looked up, telling the others the most likely address");
        return Ok(address);
    }
    tracing::warn!("own address not known, telling the others 127.0.0.1: set peer_advertise");
    Ok(Ipv4Addr::LOCALHOST.into())
}

async fn towards_a_gateway(config: &AgentConfig) -> Option<IpAddr> {
    for gateway in &config.gateways {
        let stop = config.way.first_stop(gateway);
        let Ok(places) = tokio::net::lookup_host(stop).await else { continue };
        for place in places {
            if let Some(source) = source_towards(place).await {
                return Some(source);
            }
        }
    }
    None
}

/// The own address on the way to `place`. Nothing is sent: the kernel only chooses a route.
async fn source_towards(place: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if place.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(place).await.ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    #[tokio::test]
    async fn a_name_service_that_is_away_does_not_move_a_member() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let at = |gateways: &[&str]| {
            let gateways = gateways.iter().map(|url| (*url).to_owned()).collect();
            AgentConfig::load(None, Overrides { gateways, ..Overrides::default() }).unwrap()
        };
        let (away, here) = ("https://no-such-host.invalid", "https://127.0.0.1");
        folder.remember_address("127.0.0.9".parse().unwrap()).unwrap();
        let kept = own_address(&at(&[away]), &folder).await.unwrap();
        assert_eq!(kept.to_string(), "127.0.0.9");
        let found = own_address(&at(&[away, here]), &folder).await.unwrap();
        assert_eq!(
            found.to_string(),
            "127.0.0.1",
            "the second gateway is asked when the first has no address"
        );
        assert_eq!(folder.remembered_address(), Some(found));
    }
}
