//! The way to one gateway, hop by hop, until one fails.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use tokio::net::{TcpStream, lookup_host};
use warren_identity::{Validity, leaf::issuer_of};
use warren_tunnel::{
    dial::{Connector, DialError, Direct, greet, secure},
    tls::TlsStream,
};

use super::{
    Check, Late, Sheet, Timed,
    check::Hop,
    identity::Own,
    verdict::{self, TlsSeen},
};
use crate::config::{AgentConfig, GatewayUrl};

/// How long a name may take to be looked up. What dials gives up by itself.
const NAME_WITHIN: Duration = Duration::from_secs(5);
/// More than any step takes that has a bound of its own.
const BOUND_ELSEWHERE: Duration = Duration::from_secs(60);

/// Notes each hop, and stops at the first that fails.
pub(super) async fn walk<T: FnMut(&Check)>(
    config: &AgentConfig,
    own: &Own,
    gateway: &GatewayUrl,
    sheet: &mut Sheet<T>,
) {
    let mut walk = Walk { config, own, gateway, sheet };
    walk.way();
    let Some(socket) = walk.connect().await else { return };
    let Some(stream) = walk.secure(socket).await else { return };
    walk.greet(stream).await;
}

struct Walk<'a, T> {
    config: &'a AgentConfig,
    own: &'a Own,
    gateway: &'a GatewayUrl,
    sheet: &'a mut Sheet<T>,
}

impl<T: FnMut(&Check)> Walk<'_, T> {
    fn note(&mut self, check: Check) {
        self.sheet.note(check.of(self.gateway));
    }

    fn late(&mut self, hop: Hop, late: Late) {
        self.note(verdict::late(hop, late).away());
    }

    fn way(&mut self) {
        let way = &self.config.way;
        self.note(verdict::way(way.proxy_to(self.gateway), way.from.as_deref(), way.ignored()));
    }

    async fn connect(&mut self) -> Option<TcpStream> {
        let config = self.config;
        let (host, port) = config.way.first_stop(self.gateway);
        self.look_up(host, port).await?;
        let proxy = config.way.proxy_to(self.gateway);
        let Timed { came, took } = match self.sheet.step(BOUND_ELSEWHERE, Direct.connect(host, port)).await {
            Ok(timed) => timed,
            Err(late) => return self.end(Hop::Tcp, late),
        };
        let peer = came.as_ref().ok().and_then(|socket| socket.peer_addr().ok());
        let place = peer.map_or_else(|| format!("{host}:{port}"), |peer| peer.to_string());
        self.note(verdict::tcp(&place, came.as_ref().map(drop), proxy).took(took));
        let socket = came.ok()?;
        if proxy.is_none() {
            return Some(socket);
        }
        drop(socket);
        let connector = config.way.connector();
        let connecting = connector.connect(self.gateway.host(), self.gateway.port());
        let Timed { came, took } = match self.sheet.step(BOUND_ELSEWHERE, connecting).await {
            Ok(timed) => timed,
            Err(late) => return self.end(Hop::Proxy, late),
        };
        self.note(verdict::proxy(self.gateway, came.as_ref().map(drop)).took(took));
        came.ok()
    }

    /// An address needs none. `None` when the name leads nowhere.
    async fn look_up(&mut self, host: &str, port: u16) -> Option<()> {
        if host.parse::<IpAddr>().is_ok() {
            return Some(());
        }
        let looking = async {
            let mut found: Vec<IpAddr> = lookup_host((host, port)).await?.map(|place| place.ip()).collect();
            found.dedup();
            Ok(found)
        };
        let Timed { came, took } = match self.sheet.step(NAME_WITHIN, looking).await {
            Ok(timed) => timed,
            Err(late) => return self.end(Hop::Name, late),
        };
        self.note(verdict::name(host, &came).took(took));
        came.ok().filter(|found| !found.is_empty()).map(drop)
    }

    async fn secure(&mut self, socket: TcpStream) -> Option<TlsStream> {
        let Some(tls) = &self.own.tls else {
            self.note(Check::skipped(Hop::Tls, "there are no roots to judge its certificate by"));
            return None;
        };
        let (tls, opened, shown) = tls.begin_watched();
        let url = self.gateway.to_string();
        let Timed { came, took } = match self.sheet.step(BOUND_ELSEWHERE, secure(&url, tls, socket)).await {
            Ok(timed) => timed,
            Err(late) => return self.end(Hop::Tls, late),
        };
        let leaf = shown.chain().first().map(CertificateDer::as_ref);
        let seen = TlsSeen {
            issuer: leaf.and_then(|leaf| issuer_of(leaf).ok()),
            validity: leaf.and_then(|leaf| Validity::of(leaf).ok()),
            vouched: self.own.voucher(shown.chain(), self.gateway.host()).map(str::to_owned),
            is_opened: opened.is_opened(),
        };
        let check = verdict::tls(self.gateway, came.as_ref().map(drop), &seen, SystemTime::now());
        self.note(check.took(took));
        came.ok()
    }

    async fn greet(&mut self, stream: TlsStream) {
        let (url, begun) = (self.gateway.to_string(), SystemTime::now());
        let Timed { came, took } = match self.sheet.step(BOUND_ELSEWHERE, greet(&url, stream)).await {
            Ok(timed) => timed,
            Err(late) => return self.late(Hop::Answer, late),
        };
        let ended = SystemTime::now();
        let enrolled = self.own.agent().is_some();
        self.note(
            verdict::answer(self.gateway, came.as_ref().map_err(|error: &DialError| error), enrolled)
                .took(took),
        );
        let date = came.ok().and_then(|greeting| httpdate::parse_http_date(&greeting.date?).ok());
        if let Some(date) = date {
            self.note(verdict::clock(date, begun, ended));
        }
    }

    fn end<R>(&mut self, hop: Hop, late: Late) -> Option<R> {
        self.late(hop, late);
        None
    }
}
