//! Small messages at a fixed rate, whatever the answers do.
//!
//! A message's time counts from when it was due: one that had to wait because those before it were stuck has waited. Who
//! sends the next request only after an answer samples the pauses between stalls instead.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream as Blocking},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::oneshot,
    task::JoinSet,
    time::{interval, timeout_at},
};

use super::{MESSAGE, PATIENCE, open};
use crate::{
    stats::Times,
    wire::{GO, Request, damage},
};

/// Bulk and slow readers are at their speed before messages count.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);
/// Before a message is tried again that the socket had no room for.
const RETRY: Duration = Duration::from_micros(200);
/// The slow reader takes so many bytes ten times a second.
const SLOW_PIECE: usize = 1_000;

/// Callers that are connected.
pub(super) struct Callers(Vec<Blocking>);

/// When each message is due. Message `n` is caller `n % callers`'s.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    every: Duration,
    messages: u64,
    callers: u64,
}

impl Callers {
    pub(super) async fn open(address: SocketAddr, count: usize) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            sockets.push(open(address, Request::Echo).await?.into_std()?);
        }
        Ok(Self(sockets))
    }

    /// `rate`: messages a second of all callers together. Each of them must be answered.
    pub(super) async fn run(self, rate: f64, time: Duration) -> Result<Times> {
        let schedule = Schedule {
            start: Instant::now(),
            every: Duration::from_secs_f64(1.0 / rate),
            messages: ((WARM_UP + time).as_secs_f64() * rate) as u64,
            callers: self.0.len() as u64,
        };
        let writers: Vec<_> = self.0.iter().map(Blocking::try_clone).collect::<io::Result<_>>()?;
        // Both on threads of their own: they must not wait for this process's bulk copies.
        let sender = in_thread(move || send(&writers, schedule));
        let reader = in_thread(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(receive(self.0, schedule))
        });
        let (sent, received) = tokio::join!(sender, reader);
        sent.context("the sender")?.context("sending messages")?;
        Ok(Times::new(received.context("the reader")?.context("waiting for answers")?))
    }
}

impl Schedule {
    fn due(&self, message: u64) -> Instant {
        self.start + self.every.mul_f64(message as f64)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own; the runtime's timer is a millisecond coarse"
)]
fn send(sockets: &[Blocking], schedule: Schedule) -> io::Result<()> {
    for message in 0..schedule.messages {
        thread::sleep(schedule.due(message).saturating_duration_since(Instant::now()));
        let mut bytes = [b'm'; MESSAGE];
        bytes[..8].copy_from_slice(&message.to_be_bytes());
        let mut socket = &sockets[(message % schedule.callers) as usize];
        let mut left = &bytes[..];
        while !left.is_empty() {
            match socket.write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn receive(sockets: Vec<Blocking>, schedule: Schedule) -> io::Result<Vec<Duration>> {
    let mut callers = JoinSet::new();
    for (caller, socket) in (0..).zip(sockets) {
        callers.spawn(answers(TcpStream::from_std(socket)?, caller, schedule));
    }
    let mut times = Vec::new();
    while let Some(ended) = callers.join_next().await {
        times.extend(ended.map_err(io::Error::other)??);
    }
    Ok(times)
}

/// Times of one caller's messages that were due after the warm-up.
async fn answers(mut socket: TcpStream, caller: u64, schedule: Schedule) -> io::Result<Vec<Duration>> {
    let deadline = (schedule.due(schedule.messages) + PATIENCE).into();
    let mut times = Vec::new();
    let mut answer = [0; MESSAGE];
    for message in (caller..schedule.messages).step_by(schedule.callers as usize) {
        let read = timeout_at(deadline, socket.read_exact(&mut answer)).await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer to message {message}"));
        read.map_err(|_| late())??;
        if answer[..8] != message.to_be_bytes() {
            return Err(damage(format!("message {message} is answered by another")));
        }
        let due = schedule.due(message);
        if due >= schedule.start + WARM_UP {
            times.push(due.elapsed());
        }
    }
    Ok(times)
}

/// Opens a session whose target gives all that goes, and takes 10 KB/s of it until the process ends.
pub(super) async fn slow_reader(address: SocketAddr) -> io::Result<()> {
    let mut socket = open(address, Request::Give { millis: u32::MAX, rate: 0 }).await?;
    socket.write_u8(GO).await?;
    tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(100));
        let mut piece = [0; SLOW_PIECE];
        loop {
            ticks.tick().await;
            socket.read_exact(&mut piece).await?;
        }
        #[expect(unreachable_code, reason = "it says what the task may fail with")]
        Ok::<_, io::Error>(())
    });
    Ok(())
}

async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().spawn(move || drop(done.send(work())))?;
    result.await.map_err(|_| anyhow!("a thread of the load has panicked"))
}
