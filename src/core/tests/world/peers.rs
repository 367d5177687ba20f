//! The group's own life: who hears whom, who leads, what is agreed.

use std::collections::BTreeMap;

use warren_core::{
    state::{Answer, Command, Verdict, VerdictChange},
    view::Word,
};

use super::{
    agent::Agent,
    event::Event,
    faults::Fault,
    invariants,
    net::Node,
    queue::Ms,
    truth::Of,
    tunnel::{Message, Said, Side},
    world::{GROUP_EVERY, World},
};

/// Silence after which a member is judged down by its peers.
const SILENT: Ms = 4_000;
/// Members look for changes at least this often, for those that heard of none.
const REPEAT: Ms = 5_000;
/// A leader tells changes of verdict this often.
const VERDICTS_EVERY: Ms = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// When the leader last heard of each, and when anybody did.
    heard: BTreeMap<usize, (Ms, Ms)>,
    told: Ms,
    repeated: Ms,
}

impl World {
    /// Both run, and each hears the other.
    pub(crate) fn hear_each_other(&self, one: usize, two: usize) -> bool {
        let (near, far) = (Node::Agent(one), Node::Agent(two));
        let up = |agent: &Agent| agent.is_up(self.now);
        one == two && up(&self.agents[one])
            || up(&self.agents[one])
                && up(&self.agents[two])
                && self.net.is_open(near, far)
                && self.net.is_open(far, near)
    }

    pub(crate) fn has_majority(&self, agent: usize) -> bool {
        let heard = (0..self.agents.len()).filter(|other| self.hear_each_other(agent, *other));
        heard.count() * 2 > self.agents.len()
    }

    /// Whether the agent is in touch with a leader that has a majority.
    pub(crate) fn in_quorum(&self, agent: usize) -> bool {
        self.site
            .leader
            .is_some_and(|leader| self.has_majority(leader) && self.hear_each_other(agent, leader))
    }

    /// Makes an entry of the log; the leader has applied it at once.
    pub(crate) fn append(&mut self, command: Command) -> Answer {
        self.last_request += 1;
        let request = self.last_request;
        self.append_as(request, command)
    }

    fn append_as(&mut self, request: u128, command: Command) -> Answer {
        let leader = self.site.leader.unwrap();
        if matches!(command, Command::Config { .. }) {
            self.books.config_changed = self.now;
        }
        let at_ms = (1_800_000_000_000 + self.now as i64 + self.agents[leader].clock_ms).unsigned_abs();
        let answer = self.site.append(request, "t", at_ms, command);
        self.catch_up(leader);
        answer
    }

    /// Asks for a change through a member. Now and then the answer is lost, and the same request is made again.
    pub(crate) fn propose(&mut self, by: usize, command: Command) -> Option<Answer> {
        let reached = self.agents[by].is_up(self.now) && self.in_quorum(by);
        if !reached {
            self.books.edits_refused += 1;
            return None;
        }
        let before = self.site.newest();
        let answer = self.append(command.clone());
        if self.chance.percent(20) {
            let (once, request) = (self.site.newest(), self.last_request);
            let again = self.append_as(request, command);
            let twice = self.site.newest();
            self.check(|_| invariants::replicas_agree::applied_once(&answer, &again, &once, &twice));
        }
        let after = self.site.newest();
        self.check(|_| invariants::replicas_agree::goes_on(&before, &after));
        self.note(|| format!("group: {answer:?}"));
        Some(answer)
    }

    /// Applies what the agent has not yet, entry by entry, and tells the gateways.
    pub(crate) fn catch_up(&mut self, agent: usize) {
        let (applied, end) = (self.agents[agent].applied, self.site.log.len());
        if applied == end {
            return;
        }
        let mut state = self.agents[agent].state.as_ref().clone();
        self.site.log[applied..end].iter().for_each(|proposal| drop(state.apply(proposal)));
        let (replica, expected) = (&state, self.site.at(end));
        let agrees = invariants::replicas_agree::same(replica, &expected);
        let boot = self.agents[agent].boot;
        // The very state, so that readers can tell that nothing changed.
        for resource in self.agents[agent].adopt(end, expected) {
            self.queue.plan(self.now, Event::Probe { agent, boot, resource });
        }
        self.check(|_| agrees);
        self.tell_gateways(agent);
        self.plan_tell(agent);
    }

    pub(crate) fn tell_gateways(&mut self, agent: usize) {
        for tunnel in self.agents[agent].tunnels.values().map(|(tunnel, _)| *tunnel).collect::<Vec<_>>() {
            let said = self.said(agent);
            self.send(tunnel, Side::Gateway, Message::Said(Box::new(said)));
        }
    }

    pub(crate) fn said(&self, agent: usize) -> Said {
        let Agent { applied, state, vitals, .. } = &self.agents[agent];
        let word =
            Word { quorum: self.in_quorum(agent), applied: *applied as u64, term: self.site.term, epoch: 1 };
        Said { word, state: state.clone(), vitals: *vitals }
    }

    pub(crate) fn group(&mut self) {
        self.queue.plan(self.now + GROUP_EVERY, Event::Group);
        let able: Vec<_> = (0..self.agents.len())
            .filter(|agent| self.agents[*agent].is_up(self.now) && self.has_majority(*agent))
            .collect();
        if self.site.elect(&able, self.now) {
            let (leader, term) = (self.site.leader, self.site.term);
            self.note(|| format!("group: {leader:?} leads in term {term}"));
            able.iter().for_each(|agent| _ = self.peers.heard.insert(*agent, (self.now, self.now)));
            self.catch_up(leader.unwrap());
        }
        let repeats = self.now >= self.peers.repeated + REPEAT;
        for agent in 0..self.agents.len() {
            if !self.agents[agent].is_up(self.now) {
                continue;
            }
            if self.in_quorum(agent) && self.chance.percent(80) {
                self.catch_up(agent);
            }
            if repeats {
                self.tell_gateways(agent);
            }
        }
        if repeats {
            self.peers.repeated = self.now;
        }
        self.judge_peers();
    }

    /// The leader's verdicts on the others, those who are silent to it but heard by another only suspect.
    fn judge_peers(&mut self) {
        let Some(leader) = self.site.leader.filter(|leader| self.in_quorum(*leader)) else { return };
        let others = 0..self.agents.len();
        let mut changes = Vec::new();
        for agent in others.clone() {
            let by_leader = self.hear_each_other(leader, agent);
            let by_any = others.clone().any(|other| other != agent && self.hear_each_other(other, agent));
            let (near, any) = self.peers.heard.entry(agent).or_insert((self.now, self.now));
            *near = if by_leader { self.now } else { *near };
            *any = if by_any { self.now } else { *any };
            let silent = |since: Ms| self.now >= since + SILENT;
            let verdict = match (silent(*near), silent(*any)) {
                (false, _) => Verdict::Up,
                (true, false) => Verdict::Suspect,
                (true, true) => Verdict::Down,
            };
            let member = self.ids[agent];
            let known = self.agents[leader].state.members.get(&member);
            if known.is_some_and(|known| known.verdict.verdict != verdict) {
                changes.push(VerdictChange { member, resource: None, verdict, detail: String::new() });
            }
        }
        if !changes.is_empty() && self.now >= self.peers.told + VERDICTS_EVERY {
            self.peers.told = self.now;
            self.propose(leader, Command::Verdicts { changes });
        }
    }

    /// Looks at a resource, and plans the next look.
    pub(crate) fn probe(&mut self, agent: usize, resource: &warren_core::id::Name) {
        let Some(number) = self.resources.iter().position(|name| name == resource) else { return };
        let reached = !self.truth.is_on(Of::Target(number)) && !self.truth.is_on(Of::Path(agent, number));
        let evidence = match reached {
            true => warren_core::judge::Evidence::Good,
            false => warren_core::judge::Evidence::Bad,
        };
        let before = self.agents[agent].verdict(resource);
        let random = self.chance.bits();
        let Some(next) = self.agents[agent].look(resource, evidence, random) else { return };
        let after = self.agents[agent].verdict(resource);
        if before != after {
            self.note(|| format!("a{agent}: {resource} is {}", after.as_str()));
            *self.books.verdicts.entry((agent, number)).or_default() += 1;
        }
        let boot = self.agents[agent].boot;
        self.queue.plan(self.now + next, Event::Probe { agent, boot, resource: resource.clone() });
        self.plan_tell(agent);
    }

    /// The first thing that is to be told opens the time in which others join it.
    pub(crate) fn plan_tell(&mut self, agent: usize) {
        if self.agents[agent].is_telling || self.agents[agent].untold().is_empty() {
            return;
        }
        self.agents[agent].is_telling = true;
        let boot = self.agents[agent].boot;
        self.queue.plan(self.now + 1_000, Event::Tell { agent, boot });
    }

    pub(crate) fn tell(&mut self, agent: usize) {
        let changes = self.agents[agent].untold();
        if changes.is_empty() {
            self.agents[agent].is_telling = false;
            return;
        }
        let wait = match self.propose(agent, Command::Verdicts { changes }) {
            Some(_) => {
                self.agents[agent].telling.connected_for(std::time::Duration::ZERO);
                1_000
            }
            None => {
                let random = self.chance.bits();
                let wait = self.agents[agent].telling.next_wait(random);
                u64::try_from(wait.as_millis()).unwrap().max(1)
            }
        };
        let boot = self.agents[agent].boot;
        self.queue.plan(self.now + wait, Event::Tell { agent, boot });
    }

    /// Whether a fault of this kind is on anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        let clock = |fault: &Fault| matches!(fault, Fault::Clock { .. });
        let on = |planned: &super::faults::Planned| {
            planned.at <= self.now && self.now < planned.at + planned.lasts && !clock(&planned.fault)
        };
        !self.faults.iter().any(on)
    }
}
