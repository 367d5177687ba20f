//! Faults that the kernel makes: packets dropped or refused, sockets killed. In a network namespace of the program's own,
//! which has nothing but a loopback interface, so nobody else can be hurt. Needs root, util-linux, iproute2 and nftables.

use std::{
    env,
    net::SocketAddr,
    process::{Command, ExitStatus},
};

const INSIDE: &str = "INSIDE_OWN_NETNS";

/// Whether this is the program that [`rerun`] has started.
pub fn is_own() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs this program once more, in a namespace of its own, and waits for it.
pub fn rerun(args: &[&str]) -> ExitStatus {
    let program = env::current_exe().expect("this program has a path");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(program)
        .args(args);
    command.env(INSIDE, "1").status().expect("unshare of util-linux")
}

/// Rules on what comes in at the loopback interface; gone with the namespace.
#[derive(Debug)]
pub struct Firewall(());

impl Firewall {
    /// Only in a namespace of our own.
    pub fn install() -> Self {
        assert!(is_own(), "rules are made in a namespace of our own only");
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
    assert!(is_own(), "sockets are killed in a namespace of our own only");
    let port = format!(":{}", address.port());
    run("ss", &["-K", "-tn", "state", "established", "dport", "=", &port]);
    run("ss", &["-K", "-tn", "state", "established", "sport", "=", &port]);
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    said
}
