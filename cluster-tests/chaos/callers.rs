//! Callers all along: some ask once, some talk for a while, one moves much; each tells what became of it.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{Options, world::World};
use crate::{
    caller,
    crew::{Crew, Stop},
    load::{Broken, Bulk, Conversation, Exchange, Random, Running, Sizes},
    wait,
};

/// Who asks once is one of so many, so that those who wait hold nobody up.
const OPENERS: u32 = 8;
/// A talker asks so often, and begins anew after some time up to this.
const TALKS_EVERY: Duration = Duration::from_millis(150);
const TALKS_FOR_MAX: u64 = 40_000;
/// How long one bulk session takes at its pace.
const BULK_SECONDS: u64 = 4;
/// What must not be reached is tried so often.
const FORBIDDEN_EVERY: Duration = Duration::from_millis(900);

/// What a caller wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One question and its answer.
    Open,
    Talk,
    Bulk,
    /// Something that the group's rules or the site's veto deny.
    Forbidden,
}

/// One session as its caller saw it; times since the start.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    /// The caller's own end, by which the gateway's record is found.
    pub(super) local: Option<SocketAddr>,
    pub(super) begun: Duration,
    /// When the first answer came.
    pub(super) opened: Option<Duration>,
    pub(super) ended: Duration,
    pub(super) end: End,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// As the caller wanted, all bytes right.
    Fine,
    /// By an error.
    Lost(String),
    /// Without an error, and before all was said.
    Silent(String),
    /// A byte came that does not belong there.
    Wrong(String),
}

/// All callers, until they are told to finish.
#[derive(Debug)]
pub(super) struct Callers {
    shared: Arc<Shared>,
    crew: Crew<()>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    seeds: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

impl Callers {
    pub(super) fn start(world: &World, options: &Options, start: Instant) -> Self {
        let seeds = AtomicU64::new(options.seed.wrapping_mul(1 << 32));
        let shared = Arc::new(Shared { start, seeds, seen: Mutex::default() });
        let load = options.load;
        let answers = world.answers;
        let mut callers = Self { shared, crew: Crew::default() };
        let opens_every = Duration::from_secs(1) * OPENERS / load.opens_per_second.max(1);
        for _ in 0..OPENERS {
            callers.call(move |shared, stop| shared.open_again_and_again(answers, opens_every, stop));
        }
        for _ in 0..load.talkers {
            callers.call(move |shared, stop| shared.talk_again_and_again(answers, stop));
        }
        let (exchange, bulk) = (world.exchange.clone(), world.bulk);
        callers.call(move |shared, stop| shared.move_much(bulk, &exchange, load.bulk, stop));
        for address in world.forbidden {
            callers.call(move |shared, stop| shared.try_what_is_forbidden(address, stop));
        }
        callers
    }

    fn call(&mut self, call: impl FnOnce(&Shared, &Stop) + Send + 'static) {
        let shared = self.shared.clone();
        self.crew.spawn(move |stop| call(&shared, stop));
    }

    /// Waits for the sessions that are open, and tells of all.
    pub(super) fn finish(self) -> Vec<Seen> {
        for caller in self.crew.finish() {
            caller.expect("a caller does not panic");
        }
        std::mem::take(&mut self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn seed(&self) -> u64 {
        self.seeds.fetch_add(1, SeqCst)
    }

    /// A gateway that is gone is not asked in a tight loop.
    fn note(&self, seen: Seen) {
        if seen.end != End::Fine {
            wait::until(Instant::now() + TALKS_EVERY);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    fn open_again_and_again(&self, address: SocketAddr, every: Duration, stop: &Stop) {
        let mut due = Instant::now() + every.mul_f64(Random::new(self.seed()).below(1_000) as f64 / 1_000.0);
        while !stop.is_set() {
            wait::until(due);
            self.converse(Kind::Open, address, Duration::ZERO, stop);
            due = (due + every).max(Instant::now());
        }
    }

    fn talk_again_and_again(&self, address: SocketAddr, stop: &Stop) {
        while !stop.is_set() {
            let time = Duration::from_millis(1_000 + Random::new(self.seed()).below(TALKS_FOR_MAX));
            self.converse(Kind::Talk, address, time, stop);
        }
    }

    fn converse(&self, kind: Kind, address: SocketAddr, time: Duration, stop: &Stop) {
        let begun = self.start.elapsed();
        let (mut local, mut opened) = (None, None);
        let mut talk = || -> Result<(), Broken> {
            let mut conversation = Conversation::connect(address, self.seed())?;
            local = Some(conversation.local()?);
            conversation.ask()?;
            opened = Some(self.start.elapsed());
            let until = Instant::now() + time;
            while Instant::now() < until && !stop.is_set() {
                wait::until((Instant::now() + TALKS_EVERY).min(until));
                conversation.ask()?;
            }
            conversation.finish()
        };
        let end = End::of(talk());
        self.note(Seen { kind, local, begun, opened, ended: self.start.elapsed(), end });
    }

    fn move_much(&self, address: SocketAddr, exchange: &Exchange, pace: u64, stop: &Stop) {
        let sizes = Sizes { up: pace * BULK_SECONDS, down: pace * BULK_SECONDS };
        while !stop.is_set() {
            let begun = self.start.elapsed();
            let running = Running::start(address, [Bulk { seed: self.seed(), sizes, pace }]);
            let opened = Some(self.start.elapsed());
            let wrong = running.finish(exchange);
            let end = End::of_bulk(&wrong);
            let opened = opened.filter(|_| !wrong.iter().any(|why| why.contains("not opened")));
            self.note(Seen {
                kind: Kind::Bulk,
                local: None,
                begun,
                opened,
                ended: self.start.elapsed(),
                end,
            });
        }
    }

    fn try_what_is_forbidden(&self, address: SocketAddr, stop: &Stop) {
        while !stop.is_set() {
            let begun = self.start.elapsed();
            let end = if caller::ends_silently(address) {
                End::Lost("denied".to_owned())
            } else {
                End::Wrong("a denied destination answered, or held the caller".to_owned())
            };
            let ended = self.start.elapsed();
            self.note(Seen { kind: Kind::Forbidden, local: None, begun, opened: None, ended, end });
            wait::until(Instant::now() + FORBIDDEN_EVERY);
        }
    }
}

impl End {
    fn of(result: Result<(), Broken>) -> Self {
        match result {
            Ok(()) => Self::Fine,
            Err(Broken::Lost(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Self::Silent(error.to_string())
            }
            Err(Broken::Lost(error)) => Self::Lost(error.to_string()),
            Err(Broken::Wrong(what)) => Self::Wrong(what),
        }
    }

    /// From what the two ends of a bulk session say.
    fn of_bulk(said: &[String]) -> Self {
        let find =
            |words: &[&str]| said.iter().find(|why| words.iter().any(|word| why.contains(word))).cloned();
        if let Some(why) = find(&["stands what belongs", "bytes heard of"]) {
            return Self::Wrong(why);
        }
        if let Some(why) = find(&["ended after"]) {
            return Self::Silent(why);
        }
        said.first().map_or(Self::Fine, |why| Self::Lost(why.clone()))
    }
}
