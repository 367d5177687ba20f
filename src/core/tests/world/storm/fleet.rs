//! The agents, and what happens in order.

use std::time::{Duration, Instant};

use warren_core::uplink::{Command, Ending, Uplink};

use super::{
    SECOND, Storm, Us,
    port::{Dial, Port, Taken},
};
use crate::{chance::Chance, queue::Queue};

const SLOTS: usize = 2;
/// A round trip between agent and gateway.
const DISTANCE: Us = 20_000;
/// An agent gives a dial up after so long.
const DIAL_WITHIN: Us = 5 * SECOND;
/// For so long tunnels have been up when the gateway goes.
const UP: Duration = Duration::from_secs(600);
const PLAY_MAX: Us = 3_600 * SECOND;

pub(super) struct Fleet {
    storm: Storm,
    agents: Vec<Agent>,
    port: Port,
    queue: Queue<Event>,
    chance: Chance,
    start: Instant,
    dials: Vec<u64>,
    /// When each agent had a tunnel again.
    returned: Vec<Us>,
}

struct Agent {
    uplink: Uplink,
    /// A waking at another time was planned before and is none any more.
    wakes: Option<Us>,
    /// The connection of each slot that has come up.
    up: [u64; SLOTS],
    back: bool,
}

#[derive(Debug)]
enum Event {
    Wake(usize),
    Answer(Dial, bool),
    /// A core of the gateway is free.
    Served(Dial),
    GivenUp(Dial),
}

/// How it went, times from the moment at which the gateway listens again.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) first: Us,
    pub(super) half: Us,
    pub(super) most: Us,
    pub(super) all: Us,
    /// Dials within one second, at most, of those that found it listening.
    pub(super) busiest: u64,
    /// Handshakes that were carried out and came too late.
    pub(super) wasted: u64,
    pub(super) evicted: u64,
}

impl Fleet {
    /// All tunnels are up, and break at time 0.
    pub(super) fn new(storm: Storm, seed: u64) -> Self {
        let start = Instant::now() + UP;
        let mut fleet = Self {
            storm,
            agents: Vec::new(),
            port: Port::new(storm.cores, storm.away),
            queue: Queue::default(),
            chance: Chance::new(seed),
            start,
            dials: Vec::new(),
            returned: Vec::new(),
        };
        for number in 0..storm.agents {
            let uplink = connected(start - UP, &mut fleet.chance, start);
            fleet.agents.push(Agent { uplink, wakes: None, up: [0; SLOTS], back: false });
            fleet.follow(number, 0);
        }
        fleet
    }

    pub(super) fn return_home(mut self) -> Returned {
        while self.returned.len() < self.agents.len() {
            let (now, event) = self.queue.next(PLAY_MAX).expect("agents never stop to dial");
            self.happen(now, event);
        }
        let at = |share: usize| {
            self.returned[(self.agents.len() * share).div_ceil(100).max(1) - 1] - self.storm.away
        };
        Returned {
            first: at(0),
            half: at(50),
            most: at(99),
            all: at(100),
            busiest: self.dials.iter().copied().max().unwrap_or(0),
            wasted: self.port.wasted,
            evicted: self.port.evicted,
        }
    }

    fn happen(&mut self, now: Us, event: Event) {
        match event {
            Event::Wake(number) if self.agents[number].wakes != Some(now) => {}
            Event::Wake(number) => {
                let at = self.at(now);
                self.agents[number].wakes = None;
                self.agents[number].uplink.handle_timeout(at);
                self.follow(number, now);
            }
            Event::Answer(dial, true) => {
                let at = self.at(now);
                let agent = &mut self.agents[dial.agent];
                agent.uplink.connected(dial.slot, dial.epoch, at);
                agent.uplink.verified(dial.slot, dial.epoch, at);
                agent.up[dial.slot] = dial.epoch;
                if agent.uplink.verified_count() > 0 && !agent.back {
                    agent.back = true;
                    self.returned.push(now);
                }
                self.follow(dial.agent, now);
            }
            Event::GivenUp(dial) if self.agents[dial.agent].up[dial.slot] == dial.epoch => {}
            Event::Answer(dial, false) | Event::GivenUp(dial) => {
                let (at, random) = (self.at(now), self.chance.bits());
                self.agents[dial.agent].uplink.ended(dial.slot, dial.epoch, Ending::Unreachable, at, random);
                self.follow(dial.agent, now);
            }
            Event::Served(dial) => {
                if now < dial.at + DIAL_WITHIN {
                    self.queue.plan(now + DISTANCE / 2, Event::Answer(dial, true));
                }
                let next = self.port.served(now, dial.at + DIAL_WITHIN);
                self.serve(next);
            }
        }
    }

    /// Carries out what the agent's machine wants, and wakes it when it asks for it.
    fn follow(&mut self, number: usize, now: Us) {
        while let Some(command) = self.agents[number].uplink.poll_command() {
            let Command::Dial { slot, epoch, .. } = command else { continue };
            self.dial(Dial { agent: number, slot, epoch, at: now });
        }
        let due = self.agents[number].uplink.poll_timeout();
        let due = due.map(|due| due.saturating_duration_since(self.start).as_micros() as Us);
        if let Some(due) =
            due.map(|due| due.max(now + 1)).filter(|due| self.agents[number].wakes != Some(*due))
        {
            self.agents[number].wakes = Some(due);
            self.queue.plan(due, Event::Wake(number));
        }
    }

    fn dial(&mut self, dial: Dial) {
        match self.port.take(dial) {
            Taken::Refused => self.queue.plan(dial.at + DISTANCE, Event::Answer(dial, false)),
            Taken::Begun { done } => self.serve(Some((done, dial))),
            Taken::Waits { instead_of } => {
                if let Some(oldest) = instead_of {
                    self.queue.plan(dial.at + DISTANCE, Event::Answer(oldest, false));
                }
            }
        }
        if dial.at >= self.storm.away {
            let second = ((dial.at - self.storm.away) / SECOND) as usize;
            self.dials.resize(self.dials.len().max(second + 1), 0);
            self.dials[second] += 1;
            self.queue.plan(dial.at + DIAL_WITHIN, Event::GivenUp(dial));
        }
    }

    fn serve(&mut self, begun: Option<(Us, Dial)>) {
        if let Some((done, dial)) = begun {
            self.queue.plan(done, Event::Served(dial));
        }
    }

    fn at(&self, now: Us) -> Instant {
        self.start + Duration::from_micros(now)
    }
}

/// An agent whose tunnels have just broken, after a long while.
fn connected(since: Instant, chance: &mut Chance, now: Instant) -> Uplink {
    let mut uplink = Uplink::new(SLOTS, 1, since);
    for slot in 0..SLOTS {
        let at = since + warren_core::uplink::STAGGER * slot as u32;
        uplink.handle_timeout(at);
        while let Some(command) = uplink.poll_command() {
            let Command::Dial { slot, epoch, .. } = command else { continue };
            uplink.connected(slot, epoch, at);
            uplink.verified(slot, epoch, at);
        }
    }
    assert_eq!(uplink.verified_count(), SLOTS);
    for slot in 0..SLOTS {
        uplink.ended(slot, slot as u64 + 1, Ending::Lost, now, chance.bits());
    }
    assert_eq!(uplink.verified_count(), 0);
    uplink
}
