//! Private targets that a test serves itself, each on its own port of the loopback interface.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::netns;

/// How long a connection may take before its address counts as full.
const FULL_AFTER: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The first connection that says something, one byte of which is read. Probes come, too, and say nothing.
pub fn first_to_speak(target: &TcpListener) -> io::Result<TcpStream> {
    loop {
        let (mut socket, _) = target.accept()?;
        if socket.read(&mut [0])? == 1 {
            return Ok(socket);
        }
    }
}

/// Sends back what it gets, half-closes when the caller does.
pub fn echo() -> SocketAddr {
    serve(send_back)
}

fn send_back(mut socket: TcpStream) -> io::Result<()> {
    let mut reader = socket.try_clone()?;
    io::copy(&mut reader, &mut socket)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// An echo that tells how many of its connections are open: what is left of sessions at the target's side.
#[derive(Debug)]
pub struct WatchedEcho {
    pub address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl WatchedEcho {
    #[expect(clippy::new_without_default, reason = "it binds a port and starts a thread")]
    pub fn new() -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        let address = serve(move |mut socket| {
            count.fetch_add(1, SeqCst);
            let copied = socket.try_clone().and_then(|mut reader| io::copy(&mut reader, &mut socket));
            count.fetch_sub(1, SeqCst);
            copied.map(drop)
        });
        Self { address, open }
    }

    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

/// Says its name to each caller and closes: shows which member's target was reached.
pub fn greeter(greeting: &'static str) -> SocketAddr {
    serve(move |mut socket| socket.write_all(greeting.as_bytes()))
}

/// Reads everything, answers with the number of bytes, as eight bytes big endian.
pub fn counter() -> SocketAddr {
    serve(|mut socket| {
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0_u64;
        loop {
            match socket.read(&mut buffer)? {
                0 => return socket.write_all(&total.to_be_bytes()),
                read => total += read as u64,
            }
        }
    })
}

/// An address where nothing listens, held for as long as the test runs, so that nobody else gets it.
pub fn refusing() -> SocketAddr {
    let socket = socket().expect("a socket");
    let address = bind(&socket);
    std::mem::forget(socket);
    address
}

/// An address that takes connections up to a point and never answers beyond it, as behind a firewall that drops. Held for as
/// long as the test runs.
pub fn black_hole() -> SocketAddr {
    let socket = socket().expect("a socket");
    let address = bind(&socket);
    net::listen(&socket, 0).expect("a bound socket listens");
    let fill = || TcpStream::connect_timeout(&address, FULL_AFTER).ok();
    std::mem::forget((socket, std::iter::from_fn(fill).collect::<Vec<_>>()));
    address
}

/// An echo that is not there yet: its address refuses until it [wakes](Self::wake).
#[derive(Debug)]
pub struct SleepingEcho {
    pub address: SocketAddr,
    socket: OwnedFd,
}

impl SleepingEcho {
    #[expect(clippy::new_without_default, reason = "it binds a port")]
    pub fn new() -> Self {
        let socket = socket().expect("a socket");
        Self { address: bind(&socket), socket }
    }

    pub fn wake(self) {
        net::listen(&self.socket, BACKLOG).expect("a bound socket listens");
        serve_at(TcpListener::from(self.socket), send_back);
    }
}

/// A TCP socket that no process started later inherits: it would keep it open.
pub(crate) fn socket() -> rustix::io::Result<OwnedFd> {
    net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Serves every connection on a thread of its own, for as long as the process lives.
pub(crate) fn serve(handle: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((netns::here(), 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    serve_at(listener, handle);
    address
}

fn serve_at(listener: TcpListener, handle: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) {
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let handle = handle.clone();
            // A caller that breaks off is the caller's business.
            thread::spawn(move || _ = handle(socket));
        }
    });
}

fn bind(socket: &OwnedFd) -> SocketAddr {
    net::bind(socket, &SocketAddr::from((netns::here(), 0))).expect("a free port");
    let address = net::getsockname(socket).expect("a bound socket has an address");
    address.try_into().expect("an IPv4 address")
}
