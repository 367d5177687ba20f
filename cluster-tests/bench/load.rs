//! The loads: each opens sessions at an address, measures, and prints one JSON object.

mod bulk;
mod idle;
mod interactive;
mod opens;
mod round_trips;

use std::{io, net::SocketAddr, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::wire::{READY, Request, damage};
use bulk::Streams;
use interactive::Callers;

/// No connect, answer or end of a stream may take longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of a request and of its answer.
const MESSAGE: usize = 64;

#[derive(Subcommand, Debug)]
pub(crate) enum Load {
    /// Throughput of streams that start together
    Bulk(Bulk),
    /// Requests and answers, one under way on each session
    RoundTrips(RoundTrips),
    /// Sessions that are opened, used for one round trip and closed
    Opens(Opens),
    /// Small messages at a fixed rate, with bulk or a slow reader beside them
    Interactive(Interactive),
    /// Sessions that are held; asks on stdin and answers on stdout
    Idle(Idle),
}

#[derive(Args, Debug)]
pub(crate) struct Bulk {
    address: SocketAddr,
    way: Way,
    streams: usize,
    seconds: f64,
}

#[derive(Args, Debug)]
pub(crate) struct RoundTrips {
    address: SocketAddr,
    sessions: usize,
    seconds: f64,
}

#[derive(Args, Debug)]
pub(crate) struct Opens {
    address: SocketAddr,
    at_once: usize,
    count_max: usize,
    seconds: f64,
}

#[derive(Args, Debug)]
pub(crate) struct Interactive {
    address: SocketAddr,
    callers: usize,
    /// Messages a second of all callers together
    rate: f64,
    seconds: f64,
    /// Bulk streams beside them
    #[arg(long, default_value_t = 0)]
    bulk: usize,
    /// Their direction
    #[arg(long, default_value = "up")]
    way: Way,
    /// Bytes a second of all bulk streams together; 0 is as many as go
    #[arg(long, default_value_t = 0)]
    bulk_rate: u64,
    /// A caller beside them that takes 10 KB/s of all that the target would give
    #[arg(long)]
    slow_reader: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Idle {
    address: SocketAddr,
    sessions: usize,
}

/// Where bulk goes: from the caller to the target, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    Up,
    Down,
}

pub(crate) async fn run(load: Load) -> Result<Value> {
    let seconds = Duration::from_secs_f64;
    match load {
        Load::Bulk(load) => {
            let streams =
                Streams::open(load.address, load.streams, load.way, seconds(load.seconds), 0).await?;
            Ok(streams.run().await?)
        }
        Load::RoundTrips(load) => {
            Ok(round_trips::run(load.address, load.sessions, seconds(load.seconds)).await?)
        }
        Load::Opens(load) => {
            Ok(opens::run(load.address, load.at_once, load.count_max, seconds(load.seconds)).await?)
        }
        Load::Interactive(load) => interactive_beside(load).await,
        Load::Idle(load) => idle::run(load.address, load.sessions).await,
    }
}

async fn interactive_beside(load: Interactive) -> Result<Value> {
    let time = Duration::from_secs_f64(load.seconds);
    // First, so that they do not wait behind the bulk for their sessions.
    let callers = Callers::open(load.address, load.callers).await?;
    if load.slow_reader {
        interactive::slow_reader(load.address).await?;
    }
    if load.bulk == 0 {
        return Ok(json!({"times": callers.run(load.rate, time).await?.to_json()}));
    }
    let whole = interactive::WARM_UP + time;
    let rate = load.bulk_rate / load.bulk as u64;
    let streams = Streams::open(load.address, load.bulk, load.way, whole, rate).await?;
    let (times, bulk) = tokio::join!(callers.run(load.rate, time), streams.run());
    Ok(json!({"times": times?.to_json(), "bulk": bulk?}))
}

/// A session of this kind; for bulk, the target has answered already.
async fn open(address: SocketAddr, request: Request) -> io::Result<TcpStream> {
    within("a session is open", async {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&request.encode()).await?;
        if request != Request::Echo {
            let ready = socket.read_u8().await?;
            if ready != READY {
                return Err(damage(format!("{ready:#04x} where READY was due")));
            }
        }
        Ok(socket)
    })
    .await
}

/// Opens an echo session with its first message right behind the request, and sees the answer.
async fn open_and_use(address: SocketAddr) -> io::Result<TcpStream> {
    within("a session is open and has answered", async {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let message = [b'o'; MESSAGE];
        socket.write_all(&[Request::Echo.encode().as_slice(), &message].concat()).await?;
        answer(&mut socket, &message).await?;
        Ok(socket)
    })
    .await
}

async fn round_trip(socket: &mut TcpStream, message: &[u8; MESSAGE]) -> io::Result<()> {
    within("a request is answered", async {
        socket.write_all(message).await?;
        answer(socket, message).await
    })
    .await
}

async fn answer(socket: &mut TcpStream, message: &[u8; MESSAGE]) -> io::Result<()> {
    let mut answer = [0; MESSAGE];
    socket.read_exact(&mut answer).await?;
    if answer == *message { Ok(()) } else { Err(damage("an echo is not what was sent".into())) }
}

async fn within<T>(what: &str, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("not within {PATIENCE:?}: {what}")))
    })
}
