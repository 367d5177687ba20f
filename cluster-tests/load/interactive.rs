//! Small requests at a steady pace; each answer is checked, and timed from its request.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{
    Conversation, PATIENCE, Random,
    bytes::mix,
    conversation::{MESSAGE, answer, request, word},
};
use crate::{
    crew::{Crew, Stop},
    eventually, target, wait,
};

/// The target: answers each request with what only its sequence number explains.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    pub address: SocketAddr,
}

/// Sessions that ask until they are told to finish.
#[derive(Debug)]
pub struct Interactive {
    answered: Arc<AtomicU64>,
    callers: Crew<Result<Vec<Duration>, String>>,
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
        let (all_answered, all_begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut callers = Crew::default();
        for number in 0..count as u64 {
            let (answered, begun) = (all_answered.clone(), all_begun.clone());
            callers.spawn(move |stop| {
                let seed = mix(seed.wrapping_add(number));
                let start = Instant::now();
                let opened = Conversation::open(address, seed);
                begun.fetch_add(1, SeqCst);
                let mut conversation =
                    opened.map_err(|broken| format!("session {number}, not opened: {broken}"))?;
                let mut latencies = vec![start.elapsed()];
                let conversed = converse(&mut conversation, every, seed, stop, |latency| {
                    latencies.push(latency);
                    answered.fetch_add(1, SeqCst);
                });
                let ended = conversed
                    .and_then(|()| conversation.finish().map_err(|broken| format!("at the end: {broken}")));
                ended.map_err(|why| format!("session {number} with seed {seed}: {why}"))?;
                Ok(latencies)
            });
        }
        let all_open = || (all_begun.load(SeqCst) == count as u64).then_some(());
        eventually("every session is open", PATIENCE, all_open);
        Self { answered: all_answered, callers }
    }

    /// Answers so far, of all sessions.
    pub fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Sessions that have not failed.
    pub fn alive(&self) -> usize {
        self.callers.at_work()
    }

    /// Each session gets the answer to its last request, half-closes, and must hear nothing more than the target's end.
    pub fn finish(self) -> Summary {
        let mut summary = Summary { failures: Vec::new(), latencies: Vec::new() };
        for caller in self.callers.finish() {
            match caller {
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

fn converse(
    conversation: &mut Conversation,
    every: Duration,
    seed: u64,
    stop: &Stop,
    mut heard: impl FnMut(Duration),
) -> Result<(), String> {
    // The sessions do not ask in step.
    let mut due = Instant::now() + every.mul_f64(Random::new(seed).below(1_000) as f64 / 1_000.0);
    while !stop.is_set() {
        wait::until(due);
        let sent = Instant::now();
        let number = conversation.sequence();
        conversation
            .ask()
            .map_err(|broken| format!("request {number}, after {:.1?}: {broken}", sent.elapsed()))?;
        heard(sent.elapsed());
        // After a stall it goes on at its pace and does not catch up.
        due = (due + every).max(Instant::now());
    }
    Ok(())
}
