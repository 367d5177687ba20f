//! The tunnels that are measured, one file each.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use warren_cluster_tests::{Site, hold};

use crate::{
    child::{Child, Part},
    tools::{self, Tools},
    wire::Request,
};

mod chisel;
mod direct;
mod frp;
mod rathole;
mod ssh;
mod stunnel;
mod warren;
mod wstunnel;

/// Name of the peer that all others are compared with.
pub(crate) const WARREN: &str = "warren";

/// In the order of the table's columns.
pub(crate) const PEERS: [Peer; 9] = [
    warren::PEER,
    rathole::PEER,
    chisel::PEER,
    ssh::PEER,
    stunnel::PEER,
    wstunnel::PEER,
    frp::MUX,
    frp::NO_MUX,
    direct::PEER,
];

/// A peer carries its first round trip within this time of its start.
const START_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Something that carries TCP from an entry to a target.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// How it is run, for whoever reads the results.
    pub(crate) how: &'static str,
    /// Only encrypted peers can be the best of a row.
    pub(crate) encrypted: bool,
    pub(crate) find: fn(&Tools) -> Result<Tool>,
    pub(crate) start: fn(&Tool, &Place) -> Result<Running>,
}

/// The programs of a peer that can be had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tool {
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) version: String,
}

/// Where a peer is started: a target, a path between its ends, and room for its files.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) openssl: Option<PathBuf>,
    target: Part,
    delay: Option<Duration>,
    relays: RefCell<Vec<Part>>,
}

/// A peer that carries sessions. It ends when dropped.
pub(crate) struct Running {
    /// Where callers connect.
    pub(crate) entry: SocketAddr,
    /// Processes of the end where callers connect.
    pub(crate) server: Vec<u32>,
    /// Processes of the end beside the target.
    pub(crate) client: Vec<u32>,
    /// The client's end before the server's, so that nobody tries to connect again.
    children: Vec<Child>,
    /// Warren's processes.
    _site: Option<Site>,
}

/// A key with a certificate for localhost that is its own root.
pub(crate) struct Certificate {
    pub(crate) key: String,
    pub(crate) certificate: String,
}

impl Place {
    /// `delay`: each way between the two ends of the tunnel.
    pub(crate) fn new(tools: &Tools, delay: Option<Duration>) -> Result<Self> {
        Ok(Self {
            dir: tempfile::Builder::new().prefix("warren-bench-").tempdir()?,
            openssl: tools.find("openssl").ok(),
            target: Part::start(&["target".to_owned()])?,
            delay,
            relays: RefCell::default(),
        })
    }

    pub(crate) fn target(&self) -> SocketAddr {
        self.target.address
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where a client must connect to reach the server's end: the server itself, or a relay before it.
    pub(crate) fn towards(&self, server: SocketAddr) -> Result<SocketAddr> {
        let Some(delay) = self.delay else { return Ok(server) };
        let relay = Part::start(&["relay".to_owned(), server.to_string(), delay.as_millis().to_string()])?;
        let address = relay.address;
        self.relays.borrow_mut().push(relay);
        Ok(address)
    }

    /// Writes a file of the peer's and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    pub(crate) fn certificate(&self) -> Result<Certificate> {
        let openssl = self.openssl.as_deref().context("no openssl on the PATH to make a certificate with")?;
        let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out certificate.pem";
        tools::run(openssl, &args.split_whitespace().collect::<Vec<_>>(), self.path())?;
        let file = |name| self.path().join(name).display().to_string();
        Ok(Certificate { key: file("key.pem"), certificate: file("certificate.pem") })
    }
}

impl Running {
    /// Of a server and a client, each one process with its descendants. Waits until a session works.
    fn pair(entry: SocketAddr, server: Child, client: Child) -> Result<Self> {
        let mut running = Self {
            entry,
            server: vec![server.id()],
            client: vec![client.id()],
            children: vec![client, server],
            _site: None,
        };
        running.wait()?;
        Ok(running)
    }

    /// Waits until a session has carried a round trip.
    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = first_round_trip(self.entry) {
            self.children.iter_mut().try_for_each(Child::check)?;
            let late = start.elapsed() > START_MAX;
            ensure!(!late, "no session works after {START_MAX:?}: {error}");
            hold("it comes up", PAUSE, || true);
        }
        Ok(())
    }
}

fn first_round_trip(entry: SocketAddr) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(entry)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(&Request::Echo.encode())?;
    socket.write_all(b"up?")?;
    socket.read_exact(&mut [0; 3])
}

/// An address on loopback that is free at the moment.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until a server listens; its client may not try twice.
fn wait_for(server: &mut Child, address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        server.check()?;
        ensure!(start.elapsed() < START_MAX, "nothing listens at {address}: {error}");
        hold("it comes up", PAUSE, || true);
    }
    Ok(())
}
