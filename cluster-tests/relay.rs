//! A relay on the agents' way to the gateway, which fails as networks do.
//!
//! It moves bytes below TLS and knows nothing of them: it can end a connection in the middle of a record, fall silent
//! in one direction while everything stays connected, refuse, or be far away. Every verb acts on [all](Relay)
//! connections, those to come included, or on [one](Connection).

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::{self, sockopt};

use crate::{target, wait};

mod connection;
mod cutter;
mod pump;
#[cfg(test)]
mod tests;

pub use connection::{Connection, End, Way};
pub use cutter::Cutter;

/// How soon a verb is seen by what is under way.
const TICK: Duration = Duration::from_millis(4);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens on loopback until it is dropped, which resets what it carries.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    towards: SocketAddr,
    /// Bound and never listening: keeps the port while connections are refused.
    _port: OwnedFd,
    /// `None` while connections are refused.
    listener: Mutex<Option<TcpListener>>,
    /// What a new connection starts with.
    ways: Mutex<[connection::Orders; 2]>,
    live: Mutex<Vec<Connection>>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

impl Relay {
    /// Carries whatever connects to it on to `towards`.
    pub fn start(towards: SocketAddr) -> Self {
        let (port, address) = reserved_port();
        let shared = Arc::new(Shared {
            address,
            towards,
            _port: port,
            listener: Mutex::new(Some(listening(address))),
            ways: Mutex::default(),
            live: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || Shared::accept_all(&shared)
        });
        Self { shared, accepting: Some(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The gateway, for an agent.
    pub fn url(&self) -> String {
        format!("https://{}", self.shared.address)
    }

    /// Those that are up, the oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        let mut live = lock(&self.shared.live);
        live.retain(Connection::is_up);
        live.clone()
    }

    /// How many have ever been accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Ends all that are up, at whatever byte they are.
    pub fn cut(&self, end: End) {
        self.connections().iter().for_each(|connection| connection.cut(end));
    }

    /// Nothing passes these ways any more, on no connection; all stay up, and new ones are accepted.
    pub fn black_hole(&self, ways: &[Way]) {
        self.order(|orders, way| orders.holed |= ways.contains(&way));
    }

    /// All that was held back goes on its way, and new connections are accepted.
    pub fn heal(&self) {
        self.order(|orders, _| orders.holed = false);
        lock(&self.shared.listener).get_or_insert_with(|| listening(self.shared.address));
    }

    /// New connections are refused from here on, by the kernel; those that are up stay.
    pub fn refuse(&self) {
        lock(&self.shared.listener).take();
    }

    /// Every byte takes so much longer each way, and a few milliseconds more.
    pub fn delay(&self, each_way: Duration) {
        self.order(|orders, _| orders.delay = each_way);
    }

    /// Ends one connection after the other: see [`Cutter`].
    pub fn cut_every(&self, interval: Duration, how: Cut, seed: u64) -> Cutter {
        Cutter::start(self.shared.clone(), interval, how, seed)
    }

    fn order(&self, order: impl Fn(&mut connection::Orders, Way)) {
        // Locked throughout, so that a connection made meanwhile is not missed.
        let mut ways = lock(&self.shared.ways);
        for way in Way::BOTH {
            order(&mut ways[way as usize], way);
            self.connections()
                .iter()
                .for_each(|connection| connection.order(way, |orders| order(orders, way)));
        }
    }
}

/// Which connections a [`Cutter`] ends each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    One,
    All,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut(End::Reset);
    }
}

impl Shared {
    fn accept_all(shared: &Arc<Self>) {
        while !shared.stopped.load(SeqCst) {
            let accepted = lock(&shared.listener).as_ref().and_then(|listener| listener.accept().ok());
            match accepted {
                Some((socket, _)) => {
                    shared.accepted.fetch_add(1, SeqCst);
                    let shared = shared.clone();
                    thread::spawn(move || shared.connect(socket));
                }
                None => wait::until(Instant::now() + TICK),
            }
        }
    }

    /// The far end; when there is none, the near one is reset.
    fn connect(&self, agent: TcpStream) {
        let far = TcpStream::connect_timeout(&self.towards, CONNECT_MAX);
        let ready = far.and_then(|gateway| prepared(&gateway).and(prepared(&agent)).map(|()| gateway));
        match ready {
            Ok(gateway) => {
                let ways = lock(&self.ways);
                let mut live = lock(&self.live);
                live.retain(Connection::is_up);
                live.push(Connection::carry(self.accepted.load(SeqCst), agent, gateway, *ways));
            }
            Err(_) => pump::reset_on_close(&agent),
        }
    }
}

/// A port that nobody else gets while the socket is held, for a process that shall listen there, again and again.
pub(crate) fn reserved_port() -> (OwnedFd, SocketAddr) {
    let port = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = net::getsockname(&port).expect("a bound socket has an address");
    (port, address.try_into().expect("an IPv4 address"))
}

fn bound(address: SocketAddr) -> OwnedFd {
    let socket = target::socket().expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("an option of sockets");
    net::bind(&socket, &address).expect("a port that is free, or kept by its relay");
    socket
}

fn listening(address: SocketAddr) -> TcpListener {
    let socket = bound(address);
    net::listen(&socket, BACKLOG).expect("a bound socket listens");
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).expect("an option of sockets");
    listener
}

fn prepared(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TICK))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
