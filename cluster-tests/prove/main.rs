//! Proves the product on real servers and clients, and prints figures: PostgreSQL under pgbench with members killed,
//! nginx under wrk, SFTP, idle memory, failover times; and faults of the network under load: connections cut, packets dropped,
//! slow readers; dashboards and alerts. Needs Debian's postgresql, nginx, wrk, openssh-server; `black_hole` needs root, iproute2, nftables;
//! `grafana` needs prometheus, strace, and all of these but nginx, wrk and openssh-server.
//!
//! `cargo run --release -p warren-cluster-tests --bin prove -- postgres nginx sftp idle edits resume black_hole slow_reader grafana`
//!
//! `prove faults` is a command of its own: rows of the catalogue of faults, many times each.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::process::ExitCode;

mod server;

mod black_hole;
mod chaos;
mod edits;
mod faults;
mod grafana;
mod idle;
mod nginx;
mod postgres;
mod resume;
mod sftp;
mod slow_reader;
mod storm;

const PROOFS: [(&str, fn()); 9] = [
    ("resume", resume::prove),
    ("black_hole", black_hole::prove),
    ("slow_reader", slow_reader::prove),
    ("edits", edits::prove),
    ("grafana", grafana::prove),
    ("nginx", nginx::prove),
    ("sftp", sftp::prove),
    ("idle", idle::prove),
    ("postgres", postgres::prove),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if_eq("chaos").is_some() {
        return chaos::prove(args);
    }
    if args.next_if_eq("faults").is_some() {
        return faults::prove(args);
    }
    if args.next_if_eq("storm").is_some() {
        return storm::prove(args);
    }
    let wanted: Vec<String> = args.collect();
    let known = |name: &String| PROOFS.iter().any(|(proof, _)| proof == name);
    if wanted.is_empty() || !wanted.iter().all(known) {
        let names: Vec<_> = PROOFS.iter().map(|(name, _)| *name).collect();
        println!("usage: prove {} | chaos --help | faults --help | storm --help", names.join(" | "));
        return ExitCode::from(2);
    }
    for (name, prove) in PROOFS {
        if wanted.iter().any(|proof| proof == name) {
            println!("== {name}");
            prove();
        }
    }
    ExitCode::SUCCESS
}
