//! Callers that come all the time, as they do while something fails.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{caller, crew::Crew, wait};

/// Opens sessions to an echo, each with one round trip, until it is told to finish.
#[derive(Debug)]
pub struct Opens {
    done: Arc<Mutex<Vec<Opened>>>,
    callers: Crew<()>,
}

/// One session, from the connection to its first answer.
#[derive(Debug, Clone)]
pub struct Opened {
    pub begun: Instant,
    pub took: Duration,
    /// Whether the answer came; else why not.
    pub outcome: Result<(), String>,
    /// Addresses that were tried.
    pub tried: usize,
    /// The caller's own address, as the gateway records it; none when it did not get as far.
    pub from: Option<SocketAddr>,
}

impl Opens {
    /// So many callers, each of which begins a session `every` so often, or as soon as its last one has an answer.
    pub fn start(address: SocketAddr, callers: usize, every: Duration) -> Self {
        Self::at_any(&[address], callers, every)
    }

    /// The same by callers that know several addresses, and take turns with which is the first. When one does not serve they
    /// try the next, as drivers with several hosts do.
    pub fn at_any(addresses: &[SocketAddr], callers: usize, every: Duration) -> Self {
        let (all, mut crew) = (Arc::new(Mutex::new(Vec::new())), Crew::default());
        for number in 0..callers {
            let (done, mut addresses) = (all.clone(), addresses.to_vec());
            let first = number % addresses.len();
            addresses.rotate_left(first);
            crew.spawn(move |stop| {
                let mut due = Instant::now() + every * number as u32 / callers as u32;
                while !stop.is_set() {
                    wait::until(due);
                    let opened = open(&addresses);
                    addresses.rotate_left(1);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
                    due = (due + every).max(Instant::now());
                }
            });
        }
        Self { done: all, callers: crew }
    }

    /// How many have had their answer, or were refused it.
    pub fn count(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All of them, the first begun first.
    pub fn finish(self) -> Vec<Opened> {
        for caller in self.callers.finish() {
            caller.expect("a caller does not panic");
        }
        let mut done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        done.sort_by_key(|opened| opened.begun);
        done
    }
}

fn open(addresses: &[SocketAddr]) -> Opened {
    let begun = Instant::now();
    let (mut from, mut tried, mut outcome) = (None, 0, Ok(()));
    for &address in addresses {
        let mut talk = || -> io::Result<()> {
            let mut socket = caller::connect(address)?;
            from = Some(socket.local_addr()?);
            caller::round_trip(&mut socket, b"are you there?")
        };
        tried += 1;
        outcome = talk().map_err(|error| format!("{address}: {error}"));
        if outcome.is_ok() {
            break;
        }
    }
    Opened { begun, took: begun.elapsed(), outcome, tried, from }
}
