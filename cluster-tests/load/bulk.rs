//! Much in both directions at once; each direction ends by a half close when its length has been said.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Bytes, PATIENCE, Random, bytes::mix};
use crate::{
    caller,
    crew::{Crew, Stop},
    eventually, target, wait, within,
};

/// Seed, length up, length down.
const HEAD: usize = 24;
const PIECE_MAX: u64 = 64 << 10;
/// The caller's end may reach the target late: sessions wait for a tunnel for 30 s, once its end was noticed.
const VERDICT_MAX: Duration = Duration::from_secs(45);

/// One session: what it moves, and how fast at most.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    pub seed: u64,
    pub sizes: Sizes,
    /// Bytes a second each way; `u64::MAX` for as fast as it goes.
    pub pace: u64,
}

/// Bytes from the caller and back to it.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub up: u64,
    pub down: u64,
}

/// The target: checks what it gets, and says its own part.
#[derive(Debug)]
pub struct Exchange {
    pub address: SocketAddr,
    verdicts: Arc<Mutex<BTreeMap<u64, Result<(), String>>>>,
}

/// Sessions under way.
#[derive(Debug)]
pub struct Running {
    sessions: Vec<Bulk>,
    callers: Crew<Result<(), String>>,
    moved: Arc<AtomicU64>,
}

impl Exchange {
    /// Says its part at `pace` bytes a second at most.
    pub fn start(pace: u64) -> Self {
        let verdicts = Arc::new(Mutex::new(BTreeMap::new()));
        let kept = verdicts.clone();
        let address = target::serve(move |mut socket| {
            let mut head = [0; HEAD];
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.read_exact(&mut head)?;
            let mut words =
                head.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().unwrap_or_default()));
            let mut next = || words.next().unwrap_or_default();
            let (seed, sizes) = (next(), Sizes { up: next(), down: next() });
            let (stop, heard) = (Stop::default(), AtomicU64::new(0));
            let verdict = exchange(&socket, down(seed, sizes), up(seed, sizes), pace, &stop, &heard);
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, verdict);
            Ok(())
        });
        Self { address, verdicts }
    }

    /// What the target says of the session, once it is over there.
    fn verdict(&self, seed: u64) -> Result<(), String> {
        let seen = || self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).remove(&seed);
        within(VERDICT_MAX, seen)
            .map_or_else(|| Err("it has not come to its end there".into()), |(verdict, _)| verdict)
    }
}

impl Running {
    /// Opens the sessions at `address`, and waits until all of them are under way.
    pub fn start(address: SocketAddr, sessions: impl IntoIterator<Item = Bulk>) -> Self {
        let (all_moved, all_begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (sessions, mut callers): (Vec<_>, _) = (sessions.into_iter().collect(), Crew::default());
        for &bulk in &sessions {
            let (moved, begun) = (all_moved.clone(), all_begun.clone());
            callers.spawn(move |stop| bulk.run(address, stop, &begun, &moved));
        }
        let count = sessions.len() as u64;
        eventually("every session is open", PATIENCE, || (all_begun.load(SeqCst) == count).then_some(()));
        Self { sessions, callers, moved: all_moved }
    }

    /// Bytes that have come back to the callers.
    pub fn moved(&self) -> u64 {
        self.moved.load(SeqCst)
    }

    pub fn is_finished(&self) -> bool {
        self.callers.at_work() == 0
    }

    /// Waits for all, and tells what went wrong at either end; nothing did when it is empty.
    pub fn finish(self, target: &Exchange) -> Vec<String> {
        let ends = self.sessions.into_iter().zip(self.callers.wait()).flat_map(|(bulk, caller)| {
            let at_caller = caller.unwrap_or_else(|_| Err("the caller panicked".into()));
            let tell = move |end: &str, result: Result<(), String>| {
                result.err().map(|why| format!("{bulk:?}, at the {end}: {why}"))
            };
            [tell("caller", at_caller), tell("target", target.verdict(bulk.seed))]
        });
        ends.flatten().collect()
    }
}

impl Bulk {
    fn run(
        self,
        address: SocketAddr,
        stop: &Stop,
        begun: &AtomicU64,
        moved: &AtomicU64,
    ) -> Result<(), String> {
        let Self { seed, sizes, pace } = self;
        let opened = caller::connect(address).and_then(|mut socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let head = [seed, sizes.up, sizes.down].map(u64::to_be_bytes).concat();
            socket.write_all(&head)?;
            // The target's first byte shows that the session is open.
            socket.peek(&mut [0])?;
            Ok(socket)
        });
        begun.fetch_add(1, SeqCst);
        let socket = opened.map_err(|error| format!("not opened: {error}"))?;
        exchange(&socket, up(seed, sizes), down(seed, sizes), pace, stop, moved)
    }
}

fn up(seed: u64, sizes: Sizes) -> (Bytes, u64) {
    (Bytes::new(mix(seed)), sizes.up)
}

fn down(seed: u64, sizes: Sizes) -> (Bytes, u64) {
    (Bytes::new(mix(!seed)), sizes.down)
}

/// Says one part and hears the other, at the same time.
fn exchange(
    socket: &TcpStream,
    say: (Bytes, u64),
    hear: (Bytes, u64),
    pace: u64,
    stop: &Stop,
    heard: &AtomicU64,
) -> Result<(), String> {
    // After a failure in one direction the other must not wait.
    let told = |result: Result<(), Failed>| {
        if result.is_err() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        result
    };
    thread::scope(|scope| {
        let saying = scope.spawn(|| told(send(socket, say, pace, stop)));
        let hearing = told(receive(socket, hear, heard));
        let said = saying.join().unwrap_or_else(|_| Err(Failed::new("the sender panicked")));
        match (hearing, said) {
            // A socket tells of its reset once, to whoever comes first; the other one hears an end.
            (Err(_), Err(said)) if said.is_reset => Err(said.why),
            (hearing, said) => hearing.and(said).map_err(|failed| failed.why),
        }
    })
}

/// Why one direction did not come to its end.
struct Failed {
    why: String,
    /// The other end of the connection has said so.
    is_reset: bool,
}

impl Failed {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_reset: false }
    }

    fn of(error: &io::Error, when: impl Display) -> Self {
        Self { why: format!("{when}: {error}"), is_reset: error.kind() == ErrorKind::ConnectionReset }
    }
}

fn send(mut socket: &TcpStream, (bytes, length): (Bytes, u64), pace: u64, stop: &Stop) -> Result<(), Failed> {
    let (mut random, mut buffer) = (Random::new(length), vec![0; PIECE_MAX as usize]);
    let (start, mut sent) = (Instant::now(), 0);
    while sent < length {
        if stop.is_set() {
            return Err(Failed::new(format!("given up after {sent} of {length} bytes said")));
        }
        // Pieces of all sizes, so that they end anywhere in a frame.
        let piece = (1 + random.below(PIECE_MAX)).min(length - sent);
        let piece = &mut buffer[..piece as usize];
        bytes.fill(sent, piece);
        socket
            .write_all(piece)
            .map_err(|error| Failed::of(&error, format_args!("after {sent} of {length} bytes said")))?;
        sent += piece.len() as u64;
        wait::until(start + Duration::from_secs_f64(sent as f64 / pace as f64));
    }
    socket
        .shutdown(Shutdown::Write)
        .map_err(|error| Failed::of(&error, format_args!("after all {length} bytes said")))
}

fn receive(mut socket: &TcpStream, (bytes, length): (Bytes, u64), heard: &AtomicU64) -> Result<(), Failed> {
    let (mut buffer, mut got) = (vec![0; PIECE_MAX as usize], 0);
    loop {
        let count = socket
            .read(&mut buffer)
            .map_err(|error| Failed::of(&error, format_args!("after {got} of {length} bytes heard")))?;
        if count == 0 {
            let early = || Failed::new(format!("ended after {got} of {length} bytes heard"));
            return if got == length { Ok(()) } else { Err(early()) };
        }
        bytes.check(got, &buffer[..count]).map_err(Failed::new)?;
        got += count as u64;
        heard.fetch_add(count as u64, SeqCst);
        if got > length {
            return Err(Failed::new(format!("{got} bytes heard of {length}")));
        }
    }
}
