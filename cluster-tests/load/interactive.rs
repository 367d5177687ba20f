//! Small requests at a steady pace; each answer is checked, and timed from its request.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Bytes, PATIENCE, Random, bytes::mix};
use crate::{caller, eventually, target, wait};

/// Bytes of a request and of an answer: seed, sequence number, and what follows from the two.
const MESSAGE: usize = 64;
const HEAD: usize = 16;

/// The target: answers each request with what only its sequence number explains.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    pub address: SocketAddr,
}

/// Sessions that ask until they are told to finish.
#[derive(Debug)]
pub struct Interactive {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<thread::JoinHandle<Result<Vec<Duration>, String>>>,
}

/// What became of them.
#[derive(Debug)]
pub struct Summary {
    /// Which sessions were lost or wrong, and how.
    pub failures: Vec<String>,
    /// Of all answers, the shortest first.
    latencies: Vec<Duration>,
}

impl Answers {
    #[expect(clippy::new_without_default, reason = "it binds a port and starts a thread")]
    pub fn new() -> Self {
        let address = target::serve(|mut socket| {
            socket.set_nodelay(true)?;
            let (mut got, mut expected) = ([0; MESSAGE], 0);
            loop {
                match socket.read(&mut got[..1])? {
                    0 => return socket.shutdown(Shutdown::Write),
                    _ => socket.read_exact(&mut got[1..])?,
                }
                let seed = word(&got, 0);
                // A request that is lost, repeated or wrong ends the session, which its caller reports.
                if got != request(seed, expected) {
                    return Ok(());
                }
                socket.write_all(&answer(seed, expected))?;
                expected += 1;
            }
        });
        Self { address }
    }
}

impl Interactive {
    /// Opens `count` sessions that ask once every `every`, and waits until each has had an answer.
    pub fn start(address: SocketAddr, count: usize, every: Duration, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let begun = Arc::new(AtomicU64::new(0));
        let start = |number: u64| {
            let (stop, answered, begun) = (stop.clone(), answered.clone(), begun.clone());
            thread::spawn(move || {
                let seed = mix(seed.wrapping_add(number));
                let result = open(address, seed);
                begun.fetch_add(1, SeqCst);
                let (socket, first) =
                    result.map_err(|error| format!("session {number}, not opened: {error}"))?;
                let mut latencies = vec![first];
                converse(&socket, seed, every, &stop, |latency| {
                    latencies.push(latency);
                    answered.fetch_add(1, SeqCst);
                })
                .map_err(|why| format!("session {number} with seed {seed}: {why}"))?;
                Ok(latencies)
            })
        };
        let callers: Vec<_> = (0..count as u64).map(start).collect();
        eventually("every session is open", PATIENCE, || (begun.load(SeqCst) == count as u64).then_some(()));
        Self { stop, answered, callers }
    }

    /// Answers so far, of all sessions.
    pub fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Sessions that have not failed.
    pub fn alive(&self) -> usize {
        self.callers.iter().filter(|caller| !caller.is_finished()).count()
    }

    /// Each session gets the answer to its last request, half-closes, and must hear nothing more than the target's end.
    pub fn finish(self) -> Summary {
        self.stop.store(true, SeqCst);
        let mut summary = Summary { failures: Vec::new(), latencies: Vec::new() };
        for caller in self.callers {
            match caller.join() {
                Ok(Ok(latencies)) => summary.latencies.extend(latencies),
                Ok(Err(why)) => summary.failures.push(why),
                Err(_) => summary.failures.push("a caller panicked".to_owned()),
            }
        }
        summary.latencies.sort();
        summary
    }
}

impl Summary {
    pub fn answers(&self) -> usize {
        self.latencies.len()
    }

    /// The longest that any session waited for an answer.
    pub fn longest_stall(&self) -> Duration {
        self.latencies.last().copied().unwrap_or_default()
    }

    /// The latency that a share of all answers does not pass; 0.99 for the p99.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

fn open(address: SocketAddr, seed: u64) -> io::Result<(TcpStream, Duration)> {
    let start = Instant::now();
    let mut socket = caller::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    ask(&mut socket, seed, 0)?;
    Ok((socket, start.elapsed()))
}

fn converse(
    mut socket: &TcpStream,
    seed: u64,
    every: Duration,
    stop: &AtomicBool,
    mut heard: impl FnMut(Duration),
) -> Result<(), String> {
    // The sessions do not ask in step.
    let mut due = Instant::now() + every.mul_f64(Random::new(seed).below(1_000) as f64 / 1_000.0);
    let mut sequence = 1;
    while !stop.load(SeqCst) {
        wait::until(due);
        let sent = Instant::now();
        ask(&mut socket, seed, sequence)
            .map_err(|error| format!("request {sequence}, after {:.1?}: {error}", sent.elapsed()))?;
        heard(sent.elapsed());
        sequence += 1;
        // After a stall it goes on at its pace and does not catch up.
        due = (due + every).max(Instant::now());
    }
    socket.shutdown(Shutdown::Write).map_err(|error| format!("at the half close: {error}"))?;
    match socket.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("a byte came after the last answer".to_owned()),
        Err(error) => Err(format!("at the target's end: {error}")),
    }
}

fn ask<S: Read + Write>(socket: &mut S, seed: u64, sequence: u64) -> io::Result<()> {
    socket.write_all(&request(seed, sequence))?;
    let mut got = [0; MESSAGE];
    socket.read_exact(&mut got)?;
    if got == answer(seed, sequence) {
        return Ok(());
    }
    let (other, number) = (word(&got, 0), word(&got, 8));
    Err(io::Error::other(format!("answer {number} of the session with seed {other} came")))
}

fn request(seed: u64, sequence: u64) -> [u8; MESSAGE] {
    message(seed, sequence, Bytes::new(mix(seed)))
}

fn answer(seed: u64, sequence: u64) -> [u8; MESSAGE] {
    message(seed, sequence, Bytes::new(mix(!seed)))
}

fn message(seed: u64, sequence: u64, rest: Bytes) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&seed.to_be_bytes());
    message[8..HEAD].copy_from_slice(&sequence.to_be_bytes());
    rest.fill(sequence * (MESSAGE - HEAD) as u64, &mut message[HEAD..]);
    message
}

fn word(message: &[u8; MESSAGE], at: usize) -> u64 {
    u64::from_be_bytes(message[at..at + 8].try_into().unwrap_or_default())
}
