//! What is said on tunnels: how it travels, and what either end makes of it.

use warren_core::uplink::Ending;

use super::{
    event::Event,
    gateway::Tunnel,
    net::Node,
    tunnel::{Message, Side, TunnelId},
    world::World,
};

impl World {
    pub(super) fn ways(tunnel: TunnelId) -> (Node, Node) {
        (Node::Agent(tunnel.agent), Node::Gateway(tunnel.gateway))
    }

    pub(crate) fn send(&mut self, tunnel: TunnelId, side: Side, message: Message) {
        let (agent, gateway) = Self::ways(tunnel);
        let (from, to) = if side == Side::Gateway { (agent, gateway) } else { (gateway, agent) };
        if !self.net.is_open(from, to) {
            self.held.entry((tunnel, side)).or_default().push_back(message);
            return;
        }
        let delay = self.net.delay(from, to, &mut self.chance);
        let arrived = self.arrived.entry((tunnel, side)).or_default();
        *arrived = (*arrived).max(self.now + delay);
        self.queue.plan(*arrived, Event::Arrives { tunnel, side, message });
    }

    /// The way is open again: what was held up goes.
    pub(crate) fn release(&mut self, from: Node, to: Node) {
        let (agent, gateway, side) = match (from, to) {
            (Node::Agent(agent), Node::Gateway(gateway)) => (agent, gateway, Side::Gateway),
            (Node::Gateway(gateway), Node::Agent(agent)) => (agent, gateway, Side::Agent),
            _ => return,
        };
        if !self.net.is_open(from, to) {
            return;
        }
        let ours = |(tunnel, to): &(TunnelId, Side)| {
            tunnel.agent == agent && tunnel.gateway == gateway && *to == side
        };
        for key in self.held.keys().filter(|key| ours(key)).copied().collect::<Vec<_>>() {
            for message in self.held.remove(&key).unwrap_or_default() {
                self.send(key.0, key.1, message);
            }
        }
    }

    pub(crate) fn arrives(&mut self, tunnel: TunnelId, side: Side, message: Message) {
        match side {
            Side::Agent => self.agent_hears(tunnel, message),
            Side::Gateway => self.gateway_hears(tunnel, message),
        }
    }

    fn agent_hears(&mut self, id: TunnelId, message: Message) {
        let (now, at) = (self.now, self.at());
        let agent = &mut self.agents[id.agent];
        if !agent.is_alive {
            return;
        }
        let known = agent.boot == id.boot && agent.tunnels.contains_key(&id.epoch);
        match message {
            Message::Welcome if agent.boot == id.boot && agent.dialling.remove(&id.epoch) => {
                agent.tunnels.insert(id.epoch, (id, now));
                agent.uplink.connected(id.slot, id.epoch, at);
                self.uplink_moves(id.agent);
                return;
            }
            Message::Reset if known => return self.agent_loses(id, Ending::Lost),
            Message::Reset => return,
            _ if !known => return self.send(id, Side::Gateway, Message::Reset),
            _ => {}
        }
        agent.tunnels.insert(id.epoch, (id, now));
        match message {
            Message::Echo => self.send(id, Side::Gateway, Message::EchoAnswer),
            Message::Used => {
                agent.uplink.verified(id.slot, id.epoch, at);
                let drains = agent.drains > 0;
                let said = self.said(id.agent);
                self.send(id, Side::Gateway, Message::Said(Box::new(said)));
                if drains {
                    self.send(id, Side::Gateway, Message::AgentDrains);
                }
                self.uplink_moves(id.agent);
            }
            Message::GatewayDrains => {
                let random = self.chance.bits();
                self.agents[id.agent].uplink.draining(id.slot, id.epoch, at, random);
                self.uplink_moves(id.agent);
            }
            Message::Open { session, attempt, resource, revision } => {
                self.agent_opens(id, session, attempt, resource, revision);
            }
            _ => {}
        }
    }

    fn gateway_hears(&mut self, id: TunnelId, message: Message) {
        let (now, at) = (self.now, self.at());
        let agent_id = self.ids[id.agent];
        let gateway = &mut self.gateways[id.gateway];
        if !gateway.is_alive {
            return;
        }
        let known = gateway.boot == id.gateway_boot
            && (gateway.tunnels.contains_key(&id) || gateway.fresh.contains_key(&id));
        match message {
            Message::Reset if known => return self.gateway_loses(id),
            Message::Moves if known => return self.gateway_moves(id),
            Message::Reset => return,
            _ if !known => return self.send(id, Side::Agent, Message::Reset),
            _ => {}
        }
        if let Some(tunnel) = gateway.tunnels.get_mut(&id) {
            tunnel.heard = now;
        }
        match message {
            Message::EchoAnswer => {
                gateway.fresh.remove(&id);
                let Some(fenced) = gateway.admit(id, agent_id, now, at) else {
                    return self.send(id, Side::Agent, Message::Reset);
                };
                for fenced in fenced {
                    self.send(fenced, Side::Agent, Message::Reset);
                    self.sessions_lose(fenced);
                }
                self.send(id, Side::Agent, Message::Used);
                if self.gateways[id.gateway].drains > 0 {
                    self.send(id, Side::Agent, Message::GatewayDrains);
                }
            }
            Message::Said(said) => {
                self.books.hears(id.gateway, &said);
                gateway.hear(agent_id, *said, &self.ids);
            }
            Message::AgentDrains => {
                if let Some(Tunnel { drains, .. }) = gateway.tunnels.get_mut(&id) {
                    *drains = true;
                }
            }
            Message::Answer { session, attempt, result } => self.answered(session, attempt, result),
            _ => {}
        }
    }
}
