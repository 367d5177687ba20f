//! The only way to a destination: look the resource up, resolve it, ask both sets of rules, connect.
//!
//! Every address that a name resolves to is judged by itself, and exactly the address that was allowed is dialled: a
//! name that resolves to something else a moment later changes nothing.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::timeout,
};
use warren_core::{
    destination::{Rules, Ruling, Target},
    id::Name,
    view::GroupView,
};
use warren_tunnel::dial::connect_first;

use crate::{config::Live, metrics};

mod failure;

pub(crate) use failure::{DialFailure, List};

/// Names that are being resolved at once. Resolving blocks a thread, and a broken resolver blocks it for long.
const RESOLVING_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Dials targets under the rules of the moment. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    view: watch::Receiver<Arc<GroupView>>,
    live: watch::Receiver<Arc<Live>>,
    resolving: Arc<Semaphore>,
}

impl Targets {
    pub(crate) fn new(view: watch::Receiver<Arc<GroupView>>, live: watch::Receiver<Arc<Live>>) -> Self {
        Self { view, live, resolving: Arc::new(Semaphore::new(RESOLVING_MAX)) }
    }

    /// Connects to the target of `resource` as the group has it now.
    pub(crate) async fn connect(&self, resource: &Name, within: Duration) -> Result<TcpStream, DialFailure> {
        let view = self.view.borrow().clone();
        let found = view.state.config.resources.get(resource);
        let found = found.ok_or_else(|| DialFailure::Unknown(resource.to_string()))?;
        self.dial(&found.target, within).await
    }

    /// Connects to `target` if every rule allows it. `within` is for resolving and connecting together.
    pub(crate) async fn dial(&self, target: &Target, within: Duration) -> Result<TcpStream, DialFailure> {
        let late = || DialFailure::Timeout { target: target.clone(), after: within };
        let dialled = timeout(within, self.dial_unhurried(target)).await.map_err(|_| late()).flatten();
        if let Err(DialFailure::Denied { list, .. }) = &dialled {
            ::metrics::counter!(metrics::DENIED_TOTAL, "list" => list.as_str()).increment(1);
        }
        dialled
    }

    async fn dial_unhurried(&self, target: &Target) -> Result<TcpStream, DialFailure> {
        let addresses = self.resolve(target).await?;
        let addresses = {
            let (view, live) = (self.view.borrow(), self.live.borrow());
            permitted(target, &addresses, &view.state.config.destinations, &live.veto)?
        };
        let place = |ip| SocketAddr::new(ip, target.port());
        let connected = match addresses[..] {
            // There is nothing to race.
            [ip] => TcpStream::connect(place(ip)).await,
            _ => connect_first(addresses.into_iter().map(place).collect()).await,
        };
        let socket = connected.map_err(|error| DialFailure::of_connect(target, error))?;
        tune(&socket).map_err(|source| DialFailure::Internal { target: target.clone(), source })?;
        Ok(socket)
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<IpAddr>, DialFailure> {
        if let Ok(literal) = target.host().parse() {
            return Ok(vec![destination(literal)]);
        }
        let failed = |source| DialFailure::Dns { host: target.host().to_owned(), source };
        let permit =
            self.resolving.clone().acquire_owned().await.map_err(|_| failed(io::Error::other("closed")))?;
        let place = (target.host().to_owned(), target.port());
        // The permit travels with the blocking call: when our deadline passes, the thread is still taken.
        let found = tokio::task::spawn_blocking(move || {
            let _held = permit;
            place
                .to_socket_addrs()
                .map(|found| found.map(|place| destination(place.ip())).collect::<Vec<_>>())
        });
        let mut found =
            found.await.map_err(|error| failed(error.into())).and_then(|found| found.map_err(failed))?;
        let mut seen = Vec::with_capacity(found.len());
        found.retain(|ip| {
            !seen.contains(ip) && {
                seen.push(*ip);
                true
            }
        });
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() {
            return Err(failed(io::Error::other("the name has no address")));
        }
        Ok(found)
    }
}

/// The addresses that both sets of rules allow; when there is none, why the first one is not.
fn permitted(
    target: &Target,
    addresses: &[IpAddr],
    group: &Rules,
    site: &Rules,
) -> Result<Vec<IpAddr>, DialFailure> {
    let mut first_denial = None;
    let mut allowed = Vec::with_capacity(addresses.len());
    for &address in addresses {
        // The site is asked first: its word is the last one, and its admin should see it at work.
        let denial = [(List::Site, site), (List::Group, group)].into_iter().find_map(|(list, rules)| {
            let denied = |pattern| DialFailure::Denied { target: target.clone(), address, list, pattern };
            match rules.judge(target, address) {
                Ruling::Allowed => None,
                Ruling::Denied(pattern) => Some(denied(Some(pattern))),
                Ruling::NotListed => Some(denied(None)),
            }
        });
        match denial {
            None => allowed.push(address),
            Some(denial) => first_denial = first_denial.or(Some(denial)),
        }
    }
    match first_denial {
        Some(denial) if allowed.is_empty() => Err(denial),
        _ => Ok(allowed),
    }
}

/// Where a connection to `address` really goes: rules about loopback must also meet the address that stands for it,
/// and rules about IPv4 its IPv6 clothes.
fn destination(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        plain => plain,
    }
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    // Windows asks ten times, and older ones let no program say otherwise.
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(3);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests;
