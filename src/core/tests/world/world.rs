//! A site, its agents, gateways and targets, on a fake network: one life from a seed.
//!
//! Everything that decides is core's own code; the world only carries what it says, and breaks things. After every step
//! that matters the invariants are asked; the first that does not hold ends the life, and its last events are told.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    time::{Duration, Instant},
};

use warren_core::{
    config::Resource,
    id::{AgentId, Name},
    state::{Change, Command},
    uplink::Uplink,
};

use super::{
    agent::{Agent, SLOTS},
    chance::Chance,
    event::Event,
    faults::{self, Planned},
    gateway::Gateway,
    invariants::{self, Books},
    net::Net,
    queue::{Ms, Queue},
    session::Session,
    setup::Setup,
    site::Site,
    truth::Truth,
    tunnel::{Message, Side, TunnelId},
};

/// Lines that are told of a life that went wrong, unless `WARREN_WORLD_TOLD` says otherwise.
const TOLD: u64 = 60;
pub(crate) const GROUP_EVERY: Ms = 250;

pub(crate) type Deed = Box<dyn FnOnce(&mut World)>;

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) now: Ms,
    base: Instant,
    pub(crate) chance: Chance,
    pub(crate) queue: Queue<Event>,
    pub(crate) net: Net,
    /// What was sent while the way was cut.
    pub(crate) held: BTreeMap<(TunnelId, Side), VecDeque<Message>>,
    /// A stream's next piece arrives no earlier.
    pub(crate) arrived: BTreeMap<(TunnelId, Side), Ms>,
    pub(crate) site: Site,
    pub(crate) agents: Vec<Agent>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) ids: Vec<AgentId>,
    pub(crate) resources: Vec<Name>,
    pub(crate) truth: Truth,
    pub(crate) faults: Vec<Planned>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) last_session: u64,
    pub(crate) last_request: u128,
    pub(crate) peers: super::peers::Peers,
    pub(crate) books: Books,
    pub(crate) deeds: Vec<Option<Deed>>,
    is_healed: bool,
    trace: VecDeque<String>,
    told: usize,
    broken: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, setup: impl FnOnce(&mut Chance) -> Setup) -> Self {
        let mut chance = Chance::new(seed);
        let setup = setup(&mut chance);
        let base = Instant::now();
        let mut faults = setup.given.clone();
        let sizes = (setup.agents, setup.gateways, setup.policies.len());
        faults.extend(faults::draw(&mut chance, sizes, setup.trouble, setup.faults));
        let uplink = || Uplink::new(SLOTS, setup.gateways, base);
        let agents: Vec<_> = (0..setup.agents).map(|number| Agent::new(number, uplink())).collect();
        let mut world = Self {
            now: 0,
            base,
            chance,
            queue: Queue::default(),
            net: Net::default(),
            held: BTreeMap::new(),
            arrived: BTreeMap::new(),
            site: Site::default(),
            ids: agents.iter().map(|agent| agent.id).collect(),
            agents,
            gateways: (0..setup.gateways).map(|number| Gateway::new(number, 1, base)).collect(),
            resources: (0..setup.policies.len()).map(|n| format!("r{n}").parse().unwrap()).collect(),
            truth: Truth::default(),
            faults,
            sessions: BTreeMap::new(),
            last_session: 0,
            last_request: 0,
            peers: Default::default(),
            books: Books::default(),
            deeds: Vec::new(),
            is_healed: false,
            trace: VecDeque::new(),
            told: usize::try_from(crate::number("WARREN_WORLD_TOLD", TOLD)).unwrap(),
            broken: None,
            setup,
        };
        world.found();
        world
    }

    /// The group as it is when the story begins, and what keeps it going.
    fn found(&mut self) {
        self.site.elect(&[0], 0);
        self.site.elect(&[0], 1_000);
        for number in 0..self.agents.len() {
            let (name, peer_address) = (format!("a{number}"), format!("10.0.0.{number}:7400"));
            let command =
                Command::Join { member: self.ids[number], name, peer_address, version: "1".to_owned() };
            self.append(command).unwrap();
        }
        for number in 0..self.resources.len() {
            let change = self.put(number, "db:1");
            self.append(Command::Config { expected: None, change }).unwrap();
        }
        for agent in 0..self.agents.len() {
            self.catch_up(agent);
            self.uplink_moves(agent);
            self.queue.plan(7 * agent as Ms, Event::AgentPings { agent, boot: 1 });
        }
        for gateway in 0..self.gateways.len() {
            self.queue.plan(3 + gateway as Ms, Event::GatewayPings { gateway, boot: 1 });
        }
        self.queue.plan(0, Event::Group);
        self.queue.plan(1_500, Event::Call);
        for (number, planned) in self.faults.iter().enumerate() {
            self.queue.plan(planned.at, Event::Begins(number));
            self.queue.plan(planned.at + planned.lasts, Event::Ends(number));
        }
        for _ in 0..self.setup.edits {
            let at = self.chance.between(self.setup.trouble.0, self.setup.trouble.1);
            self.queue.plan(at, Event::Edit);
        }
    }

    /// Lives until the end, or until an invariant does not hold; that is told with the last events.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        self.run_until(self.setup.end)?;
        self.check(invariants::bounds::at_the_end);
        self.told()
    }

    /// Lives on until this time.
    pub(crate) fn run_until(&mut self, until: Ms) -> Result<(), String> {
        while self.broken.is_none()
            && let Some((at, event)) = self.queue.next(until)
        {
            if !self.is_healed && at >= self.setup.healed {
                self.is_healed = true;
                self.now = self.setup.healed;
                self.check(invariants::heal_and_serve::healed);
            }
            self.now = at;
            match self.frozen(&event) {
                Some(until) => self.queue.plan(until, event),
                None => self.step(event),
            }
        }
        if self.broken.is_none() {
            self.now = until;
        }
        self.told()
    }

    /// Has something done at that time.
    pub(crate) fn at_time(&mut self, at: Ms, deed: impl FnOnce(&mut Self) + 'static) {
        self.deeds.push(Some(Box::new(deed)));
        self.queue.plan(at, Event::Do(self.deeds.len() - 1));
    }

    fn told(&self) -> Result<(), String> {
        self.broken.as_ref().map_or(Ok(()), |broken| Err(self.report(broken)))
    }

    /// This moment for core's machines.
    pub(crate) fn at(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    pub(crate) fn check(&mut self, invariant: impl FnOnce(&Self) -> Result<(), String>) {
        if let Err(broken) = invariant(self) {
            self.breaks(broken);
        }
    }

    pub(crate) fn breaks(&mut self, broken: String) {
        self.broken.get_or_insert(broken);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() == self.told {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>8.3} {}", self.now as f64 / 1e3, line()));
    }

    /// A fingerprint of the whole life.
    pub(crate) fn digest(&self) -> String {
        let sessions = self.sessions.values().map(|session| (&session.tried, session.outcome));
        format!("{:?} {:?} {:?}", self.trace, sessions.collect::<Vec<_>>(), self.site.log.len())
    }

    fn report(&self, broken: &str) -> String {
        let mut report = format!("at {} ms: {broken}\nthe last events:\n", self.now);
        self.trace.iter().for_each(|line| _ = writeln!(report, "  {line}"));
        let _ = writeln!(report, "faults:");
        for Planned { at, lasts, fault } in &self.faults {
            let _ = writeln!(report, "  {at:>6} to {:>6}: {fault:?}", at + lasts);
        }
        report
    }

    pub(crate) fn put(&self, resource: usize, target: &str) -> Change {
        let policy = self.setup.policies[resource];
        let target = target.parse().unwrap();
        let resource_ = Resource { target, policy, description: String::new() };
        Change::PutResource { name: self.resources[resource].clone(), resource: resource_ }
    }
}
