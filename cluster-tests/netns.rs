//! Faults that the kernel makes: packets dropped, lost or refused, sockets killed, disks that are full. All of it in
//! namespaces of our own, so nobody else can be hurt. Needs root, util-linux, iproute2 and nftables.
//!
//! [`within`] gives a thread a network that has nothing but a loopback interface; what the thread starts lives there, too.
//! A [`Lan`] adds hosts, each with its own address, to run members on and to cut off from each other.

use std::{
    cell::Cell,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    panic::resume_unwind,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod lan;

pub use lan::{Host, Lan};

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
    static HERE: Cell<IpAddr> = const { Cell::new(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
}

/// Runs `work` on a thread of its own, in a network namespace of its own.
pub fn within<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let room = Room::new(&["--net"], "ip link set lo up");
    let network = std::fs::File::open(room.path("net")).expect("a namespace of a process of ours");
    let inside = || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter its namespaces");
        OWN.set(true);
        work()
    };
    thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// The address at which this thread's servers are reached: loopback, or that of the [`Lan`]'s bridge.
pub(crate) fn here() -> IpAddr {
    HERE.get()
}

/// Namespaces that last as long as this value. A process that does nothing holds them, and ends with us however we end.
#[derive(Debug)]
pub(crate) struct Room {
    holder: Child,
}

impl Room {
    /// Makes namespaces of these kinds, flags of `unshare`, and runs `script` in them.
    pub(crate) fn new(kinds: &[&str], script: &str) -> Self {
        // It reads until the end of its input, which comes with our own.
        let script = format!("{script} && echo made && exec cat");
        let mut holder = Command::new("unshare");
        holder.args(kinds).args(["--", "sh", "-e", "-c", &script]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("util-linux");
        let mut said = String::new();
        let output = holder.stdout.take().expect("it is piped");
        let heard = BufReader::new(output).read_line(&mut said);
        assert!(heard.is_ok() && said == "made\n", "namespaces cannot be made: {script}");
        Self { holder }
    }

    pub(crate) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// The namespace of that kind, as a file.
    pub(crate) fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.id())
    }

    /// What a command line begins with that is to run inside.
    pub(crate) fn prefix(&self, kinds: &[(&str, &str)]) -> Vec<String> {
        let enter = kinds.iter().map(|(flag, kind)| format!("--{flag}={}", self.path(kind)));
        ["nsenter".to_owned()].into_iter().chain(enter).chain(["--".to_owned()]).collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Rules on what comes in at the loopback interface; gone with the namespace.
#[derive(Debug)]
pub struct Firewall(());

impl Firewall {
    /// Only in a namespace of our own.
    pub fn install() -> Self {
        assert!(OWN.get(), "rules are made in a namespace of our own only");
        run("nft", &["add", "table", "inet", "faults"]);
        let chain = "add chain inet faults in { type filter hook input priority 0 ; }";
        run("nft", &chain.split(' ').collect::<Vec<_>>());
        Self(())
    }

    /// Packets from and to the port vanish.
    pub fn drop_port(&self, port: u16) {
        self.rule(port, &["drop"]);
    }

    /// Packets from and to the port are answered by a reset.
    pub fn reject_port(&self, port: u16) {
        // The reset itself comes in at the same interface, and must get through.
        let no_reset = ["tcp", "flags", "&", "rst", "==", "0"];
        self.rule(port, &[&no_reset[..], &["reject", "with", "tcp", "reset"]].concat());
    }

    /// Everything passes again.
    pub fn clear(&self) {
        run("nft", &["flush", "chain", "inet", "faults", "in"]);
    }

    fn rule(&self, port: u16, verdict: &[&str]) {
        let port = port.to_string();
        for end in ["sport", "dport"] {
            let mut args = vec!["add", "rule", "inet", "faults", "in", "tcp", end, &port];
            args.extend(verdict);
            run("nft", &args);
        }
    }
}

/// Ports from which connections to `address` are up.
pub fn connected_from(address: SocketAddr) -> Vec<u16> {
    let port = format!(":{}", address.port());
    let listed = run("ss", &["-Htn", "state", "established", "dport", "=", &port]);
    let local = |line: &str| line.split_whitespace().nth(2)?.rsplit_once(':')?.1.parse().ok();
    listed.lines().filter_map(local).collect()
}

/// Kills both ends' sockets of all connections to `address`, as an administrator may.
pub fn kill_connections(address: SocketAddr) {
    assert!(OWN.get(), "sockets are killed in a namespace of our own only");
    let port = format!(":{}", address.port());
    run("ss", &["-K", "-tn", "state", "established", "dport", "=", &port]);
    run("ss", &["-K", "-tn", "state", "established", "sport", "=", &port]);
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    said
}
