//! Many agents in one process, each of them whole: its own identity, log, peer port and tunnels. What a gateway goes through
//! when a thousand of them lose it is measured with it by `prove storm` (cluster-tests).
//!
//! Prints a line of JSON whenever the counts change: agents that run, agents with a verified tunnel, tunnels. Ends when
//! its stdin does.

#![expect(clippy::print_stdout, reason = "counts are what it is for")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{io::AsyncReadExt, sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;
use warren_agent::{Agent, AgentConfig, Overrides, Token};

const USAGE: &str = "usage: herd GATEWAY CA TOKENS DATA_DIR FIRST COUNT
  GATEWAY   https://HOST:PORT
  CA        PEM file with the root that vouches for the gateway
  TOKENS    file with a registration token a line; agent number N takes line N, and the first again after the last
  DATA_DIR  where the agents' folders are made
  FIRST     number of the first agent
  COUNT     how many";
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct Args {
    gateway: String,
    ca: PathBuf,
    tokens: Vec<String>,
    data_dir: PathBuf,
    first: usize,
    count: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let stop = CancellationToken::new();
    let (came, mut arrivals) = mpsc::channel(args.count);
    let mut agents = JoinSet::new();
    for number in args.first..args.first + args.count {
        let (config, came, stop) = (args.config(number)?, came.clone(), stop.clone());
        agents.spawn(async move {
            let built = Box::pin(stop.run_until_cancelled(Agent::build(config, Default::default()))).await;
            let Some(agent) = built.transpose().map_err(|error| format!("agent {number}: {error}"))? else {
                return Ok(());
            };
            let _ = came.send(agent.readiness()).await;
            let (_reload, reloads) = mpsc::channel(1);
            Box::pin(agent.run(stop.clone(), stop, reloads)).await;
            Ok::<(), String>(())
        });
    }
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0]);
    let (mut look, mut watched, mut last) = (time::interval(LOOK_EVERY), Vec::new(), (0, 0, 0));
    loop {
        tokio::select! {
            _ = look.tick() => {}
            Some(agent) = arrivals.recv() => {
                watched.push(agent);
                continue;
            }
            Some(ended) = agents.join_next() => ended??,
            read = stdin.read(&mut byte) => if read? == 0 { break },
        }
        let tunnels = || watched.iter().map(|agent| agent.borrow().tunnels);
        let counts = (watched.len(), tunnels().filter(|count| *count > 0).count(), tunnels().sum::<usize>());
        if counts != last {
            last = counts;
            println!("{{\"agents\":{},\"reached\":{},\"tunnels\":{}}}", counts.0, counts.1, counts.2);
        }
    }
    stop.cancel();
    while agents.join_next().await.is_some() {}
    Ok(())
}

impl Args {
    fn read() -> io::Result<Self> {
        let wrong = || io::Error::other(USAGE);
        let args: Vec<String> = std::env::args().skip(1).collect();
        let Ok([gateway, ca, tokens, data_dir, first, count]) = <[String; 6]>::try_from(args) else {
            return Err(wrong());
        };
        let tokens: Vec<String> = fs::read_to_string(tokens)?.lines().map(String::from).collect();
        let number = |text: String| text.parse().map_err(|_| wrong());
        let (first, count) = (number(first)?, number(count)?);
        if tokens.is_empty() {
            return Err(wrong());
        }
        Ok(Self { gateway, ca: ca.into(), tokens, data_dir: data_dir.into(), first, count })
    }

    fn config(&self, number: usize) -> Result<AgentConfig, Box<dyn std::error::Error>> {
        let name = format!("agent-{number}");
        let overrides = Overrides {
            data_dir: Some(Path::new(&self.data_dir).join(&name)),
            gateways: vec![self.gateway.clone()],
            ca: Some(self.ca.clone()),
            token: Some(Token::from(self.tokens[number % self.tokens.len()].clone())),
            peer_listen: Some("127.0.0.1:0".into()),
            name: Some(name),
            ..Overrides::default()
        };
        Ok(AgentConfig::load(None, overrides)?)
    }
}
