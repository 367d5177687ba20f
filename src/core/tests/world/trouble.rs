//! Faults as they begin and end, and what people change meanwhile.

use warren_core::{
    state::{Command, Intent},
    uplink::Uplink,
};

use super::{
    agent::SLOTS,
    event::Event,
    faults::Fault,
    gateway::Gateway,
    net::Node,
    tunnel::{Message, Side, TunnelId},
    world::World,
};

impl World {
    /// People change something, through whoever is there.
    pub(crate) fn edit(&mut self) {
        let agent = self.chance.pick(self.agents.len());
        let resource = self.chance.pick(self.resources.len());
        let member = self.ids[agent];
        let command = match self.chance.pick(8) {
            0 | 1 => Command::Intent { member, intent: Intent::Draining, force: false },
            2 => Command::Intent { member, intent: Intent::Disabled, force: false },
            3 | 4 => Command::Intent { member, intent: Intent::Enabled, force: false },
            5 => Command::Weight { member, weight: 50 },
            6 => Command::Tier { member, tier: 1 },
            _ => {
                let target = format!("db:{}", self.chance.between(1, 9));
                Command::Config { expected: None, change: self.put(resource, &target) }
            }
        };
        let by = self.chance.pick(self.agents.len());
        self.note(|| format!("people ask a{by}: {command:?}"));
        self.propose(by, command);
    }

    /// Begins or ends a fault.
    pub(crate) fn fault(&mut self, number: usize, begins: bool) {
        let fault = self.faults[number].fault.clone();
        self.note(|| format!("{} {fault:?}", if begins { "begins" } else { "ends" }));
        self.truth.note(&fault, begins, self.now);
        let step = |count: &mut u32| *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        match fault {
            Fault::Cut(from, to) if begins => self.net.cut(from, to),
            Fault::Cut(from, to) => {
                self.net.mend(from, to);
                self.release(from, to);
            }
            Fault::Poor(near, far) => {
                self.net.spoil(near, far, begins);
                self.net.spoil(far, near, begins);
            }
            Fault::Crash { node, told } if begins => self.crash(node, told),
            Fault::Crash { node, .. } => self.restart(node),
            Fault::Freeze(node) => {
                let until = if begins { self.now + self.faults[number].lasts } else { 0 };
                match node {
                    Node::Agent(agent) => self.agents[agent].frozen_until = until,
                    Node::Gateway(gateway) => self.gateways[gateway].frozen_until = until,
                }
            }
            Fault::Clock { agent, by_s } => {
                self.agents[agent].clock_ms = if begins { by_s * 1_000 } else { 0 };
            }
            Fault::Target(_) | Fault::Path { .. } => {}
            Fault::FailsFast(agent) => step(&mut self.agents[agent].fails),
            Fault::Slow(agent) => step(&mut self.agents[agent].slow),
            Fault::Exhausted(agent) => step(&mut self.agents[agent].exhausted),
            Fault::Drains(agent) => {
                step(&mut self.agents[agent].drains);
                self.agent_drains(agent);
            }
            Fault::GatewayDrains(gateway) => {
                step(&mut self.gateways[gateway].drains);
                self.gateway_drains(gateway);
            }
        }
    }

    pub(crate) fn agent_drains(&mut self, number: usize) {
        if self.agents[number].drains == 0 {
            // An agent that drained is a new process when it serves again.
            self.crash(Node::Agent(number), true);
            self.restart(Node::Agent(number));
            return;
        }
        for (tunnel, _) in self.agents[number].tunnels.values().copied().collect::<Vec<_>>() {
            self.send(tunnel, Side::Gateway, Message::AgentDrains);
        }
    }

    pub(crate) fn gateway_drains(&mut self, number: usize) {
        if self.gateways[number].drains == 0 {
            self.crash(Node::Gateway(number), true);
            self.restart(Node::Gateway(number));
            return;
        }
        for tunnel in self.gateways[number].tunnels.keys().copied().collect::<Vec<_>>() {
            self.send(tunnel, Side::Agent, Message::GatewayDrains);
        }
    }

    pub(crate) fn crash(&mut self, node: Node, told: bool) {
        let resets: Vec<(TunnelId, Side)> = match node {
            Node::Agent(number) => {
                let agent = &mut self.agents[number];
                agent.is_alive = false;
                let tunnels = std::mem::take(&mut agent.tunnels);
                tunnels.into_values().map(|(tunnel, _)| (tunnel, Side::Gateway)).collect()
            }
            Node::Gateway(number) => {
                let gateway = &mut self.gateways[number];
                gateway.is_alive = false;
                let tunnels = std::mem::take(&mut gateway.tunnels);
                tunnels.into_keys().map(|tunnel| (tunnel, Side::Agent)).collect()
            }
        };
        for (tunnel, side) in resets.into_iter().filter(|_| told) {
            self.send(tunnel, side, Message::Reset);
        }
        if let Node::Gateway(number) = node {
            self.sessions_die(number);
        }
    }

    /// A new process: an agent goes on from its disk, a gateway from nothing.
    pub(crate) fn restart(&mut self, node: Node) {
        let (now, at) = (self.now, self.at());
        match node {
            Node::Agent(number) if !self.agents[number].is_alive => {
                let gateways = self.gateways.len();
                let agent = &mut self.agents[number];
                agent.is_alive = true;
                agent.boot += 1;
                agent.uplink = Uplink::new(SLOTS, gateways, at);
                (agent.uplink_due, agent.is_telling) = (None, false);
                agent.dialling.clear();
                agent.board.clear();
                let (applied, state, boot) = (agent.applied, agent.state.clone(), agent.boot);
                for resource in agent.adopt(applied, state) {
                    self.queue.plan(now, Event::Probe { agent: number, boot, resource });
                }
                self.queue.plan(now, Event::AgentPings { agent: number, boot });
                self.uplink_moves(number);
            }
            Node::Gateway(number) if !self.gateways[number].is_alive => {
                let old = &self.gateways[number];
                let (boot, drains, frozen_until) = (old.boot + 1, old.drains, old.frozen_until);
                self.gateways[number] = Gateway { drains, frozen_until, ..Gateway::new(number, boot, at) };
                self.books.restarted(number);
                self.queue.plan(now, Event::GatewayPings { gateway: number, boot });
            }
            // Another fault's end has brought it back already.
            Node::Agent(_) | Node::Gateway(_) => {}
        }
    }
}
