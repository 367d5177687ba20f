//! Both ends ask each other whether they are there, and find out who is not.

use warren_core::{uplink::Ending, vitals::Vital};

use super::{
    event::Event,
    gateway::DEAD,
    queue::Ms,
    tunnel::{Message, Side},
    world::World,
};

const PING_EVERY: Ms = 2_000;

impl World {
    pub(crate) fn agent_pings(&mut self, number: usize) {
        let boot = self.agents[number].boot;
        self.queue.plan(self.now + PING_EVERY, Event::AgentPings { agent: number, boot });
        self.read_vitals(number);
        for (tunnel, heard) in self.agents[number].tunnels.values().copied().collect::<Vec<_>>() {
            if self.now >= heard + DEAD {
                self.send(tunnel, Side::Gateway, Message::Reset);
                self.agent_loses(tunnel, Ending::Lost);
            } else {
                self.send(tunnel, Side::Gateway, Message::Ping);
            }
        }
    }

    pub(crate) fn gateway_pings(&mut self, number: usize) {
        let boot = self.gateways[number].boot;
        self.queue.plan(self.now + PING_EVERY, Event::GatewayPings { gateway: number, boot });
        self.gateways[number].fresh.retain(|_, since| self.now < *since + 10_000);
        let tunnels = self.gateways[number].tunnels.iter();
        for (tunnel, heard) in tunnels.map(|(id, tunnel)| (*id, tunnel.heard)).collect::<Vec<_>>() {
            if self.now >= heard + DEAD {
                self.send(tunnel, Side::Agent, Message::Reset);
                self.gateway_loses(tunnel);
            } else {
                self.send(tunnel, Side::Agent, Message::Ping);
            }
        }
    }

    fn read_vitals(&mut self, number: usize) {
        let used = if self.agents[number].exhausted > 0 { 99 } else { 5 };
        let now_ms = self.now + 1;
        let agent = &mut self.agents[number];
        let changed = agent.vitals.read(Vital::Files, used, 100, now_ms);
        if changed.is_some() {
            self.tell_gateways(number);
        }
    }
}
