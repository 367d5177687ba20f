use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{HERE, OWN, Room, run};
use crate::Place;

/// Of the bridge, where the test's own servers and the gateway are.
const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOSTS_MAX: u8 = 200;

/// Hosts joined by a bridge, in a namespace of our own; see [`within`](super::within). What the thread starts from then on
/// listens at the bridge's address: the gateway, targets, the test itself.
#[derive(Debug)]
pub struct Lan {
    hosts: u8,
}

/// A machine on the [`Lan`]. Its faults act on what it receives, so that each direction is cut by itself.
#[derive(Debug)]
pub struct Host {
    room: Room,
    address: Ipv4Addr,
}

impl Lan {
    #[expect(clippy::new_without_default, reason = "it makes interfaces")]
    pub fn new() -> Self {
        assert!(OWN.get(), "a bridge is made in a namespace of our own only");
        let script = format!(
            "ip link add bridge type bridge && ip addr add {BRIDGE}/24 dev bridge && ip link set bridge up"
        );
        run("sh", &["-c", &script]);
        HERE.set(BRIDGE.into());
        Self { hosts: 0 }
    }

    /// One more host.
    pub fn host(&mut self) -> Host {
        assert!(self.hosts < HOSTS_MAX, "the bridge is full");
        self.hosts += 1;
        let [a, b, c, _] = BRIDGE.octets();
        let address = Ipv4Addr::new(a, b, c, self.hosts + 10);
        let room = Room::new(&["--net"], "ip link set lo up");
        let (port, id) = (format!("port{}", self.hosts), room.id().to_string());
        run("ip", &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &id]);
        run("ip", &["link", "set", &port, "master", "bridge", "up"]);
        let host = Host { room, address };
        host.run(&format!(
            "ip addr add {address}/24 dev eth0 && ip link set eth0 up
             nft 'add table inet faults
             add chain inet faults in {{ type filter hook input priority 0 ; }}
             add chain inet faults out {{ type filter hook output priority 0 ; }}'"
        ));
        host
    }
}

impl Host {
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// To run a process on it.
    pub fn place(&self) -> Place {
        Place { prefix: self.room.prefix(&[("net", "net")]), address: self.address(), ..Place::default() }
    }

    /// Nothing that `other` sends arrives here; what this host sends arrives there.
    pub fn is_deaf_to(&self, other: &Self) {
        self.rule(&format!("in ip saddr {} drop", other.address));
    }

    /// Cut both ways.
    pub fn is_cut_from(&self, other: &Self) {
        self.is_deaf_to(other);
        other.is_deaf_to(self);
    }

    /// Cut both ways from everybody, the gateway included.
    pub fn is_isolated(&self) {
        self.rule("in iif eth0 drop");
        self.rule("out oif eth0 drop");
    }

    /// So many of a hundred packets that should arrive are lost, drawn by chance.
    pub fn loses(&self, percent: u8) {
        self.rule(&format!("in iif eth0 numgen random mod 100 < {percent} drop"));
    }

    /// Connections from here to that address are refused, as if nobody listened.
    pub fn is_refused_at(&self, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        self.rule(&format!("out ip daddr {ip} tcp dport {port} reject with tcp reset"));
    }

    /// Everything passes again, from and to this host, as far as its own rules go.
    pub fn heals(&self) {
        self.run("nft flush table inet faults");
    }

    fn rule(&self, rule: &str) {
        self.run(&format!("nft 'add rule inet faults {rule}'"));
    }

    fn run(&self, script: &str) {
        let prefix = self.room.prefix(&[("net", "net")]);
        let args: Vec<_> = prefix[1..].iter().map(String::as_str).chain(["sh", "-e", "-c", script]).collect();
        run(&prefix[0], &args);
    }
}
