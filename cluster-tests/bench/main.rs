//! Measures Warren beside other tunnels on this machine, in one run: `bench --help`, and README.md on the method.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{io::AsyncReadExt, runtime};

mod child;
mod load;
mod measure;
mod peers;
mod plan;
mod quiet;
mod relay;
mod report;
mod rounds;
mod stats;
mod target;
mod tools;
mod usage;
mod wire;

use measure::Scale;
use peers::PEERS;
use plan::GROUPS;
use report::Report;
use rounds::{Contender, Run};
use tools::Tools;

/// What an idle load says when it holds its sessions.
const HELD: &str = "held";

#[derive(Parser, Debug)]
#[command(
    name = "bench",
    about = "Measure Warren beside other tunnels",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    bench: Bench,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Args, Debug)]
struct Bench {
    /// What to measure, of bulk1 bulk16 rr1 rr64 opens busy paced slow idle far [default: all]
    rows: Vec<String>,
    /// How often; medians are told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Peers, by comma, of warren rathole chisel ssh stunnel wstunnel frp frp-nomux direct [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
    /// Where programs of peers are looked for before the PATH; repeat it for several
    #[arg(long, value_name = "DIR")]
    bin_dir: Vec<PathBuf>,
    /// Do not install peers that are missing
    #[arg(long)]
    no_install: bool,
    /// Write everything there, with every round's values
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Let each measurement wait so long, and be taken again, until other programs leave the CPUs alone
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    wait_quiet: u64,
    /// Short loads, for a first look
    #[arg(long)]
    quick: bool,
}

/// Processes of their own, so that neither callers nor targets share anything with what is measured.
#[derive(Subcommand, Debug)]
enum Part {
    /// The target behind a tunnel
    #[command(hide = true)]
    Target,
    /// A path of some length to an address
    #[command(hide = true)]
    Relay { to: SocketAddr, delay_ms: u64 },
    /// One load against an address
    #[command(hide = true)]
    Load {
        #[command(subcommand)]
        load: load::Load,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.part {
        None => bench(cli.bench),
        Some(part) => run_part(part),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: Bench) -> Result<()> {
    raise_fd_limit();
    let scale = if args.quick { Scale::quick() } else { Scale::full() };
    let groups = chosen(GROUPS.iter(), |group| group.name, &args.rows)?;
    let peers = chosen(PEERS.iter(), |peer| peer.name, &args.peers)?;
    let tools = Tools::new(&args.bin_dir, !args.no_install)?;
    let (mut contenders, mut missing) = (Vec::new(), Vec::new());
    for peer in peers {
        match (peer.find)(&tools) {
            Ok(tool) => {
                eprintln!("{}: {}", peer.name, tool.version);
                contenders.push(Contender { peer, tool });
            }
            Err(error) => {
                eprintln!("{}: missing: {error:#}", peer.name);
                missing.push((peer.name, format!("{error:#}")));
            }
        }
    }
    let run = Run {
        contenders: &contenders,
        groups: &groups,
        rounds: args.rounds as usize,
        scale,
        tools: &tools,
        wait_quiet: Duration::from_secs(args.wait_quiet),
    };
    let report = Report { results: &run.results(), run: &run, missing: &missing };
    println!("{}", report.table());
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn run_part(part: Part) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let told = |address: SocketAddr| println!("{address}");
    let done = runtime.block_on(async {
        match part {
            Part::Target => while_wanted(target::serve(told)).await,
            Part::Relay { to, delay_ms } => {
                while_wanted(relay::serve(to, Duration::from_millis(delay_ms), told)).await
            }
            Part::Load { load } => {
                println!("{}", load::run(load).await?);
                Ok(())
            }
        }
    });
    // A slow reader's session, for one, has no end.
    runtime.shutdown_background();
    done
}

/// Until whoever started this process ends, which closes its stdin.
async fn while_wanted(serve: impl Future<Output = std::io::Result<()>>) -> Result<()> {
    let mut byte = [0];
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        ended = serve => Ok(ended?),
        _ = stdin.read(&mut byte) => Ok(()),
    }
}

/// Those that were named, in the order of the whole; all if none was.
fn chosen<T>(
    all: impl Iterator<Item = &'static T>,
    name: fn(&T) -> &'static str,
    wanted: &[String],
) -> Result<Vec<&'static T>> {
    let all: Vec<_> = all.collect();
    let names: Vec<_> = all.iter().map(|one| name(one)).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        bail!("there is no {unknown}, only {}", names.join(" "));
    }
    let asked = |one: &&T| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name(one));
    Ok(all.into_iter().filter(asked).collect())
}

/// Peers get the limit by inheritance: not each of them raises it by itself.
fn raise_fd_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    if let Err(error) = raised {
        eprintln!("the limit of file descriptors stays as it is: {error}");
    }
}
