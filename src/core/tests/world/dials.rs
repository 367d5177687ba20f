//! Tunnels as they come and go, and what becomes of what they carried.

use warren_core::uplink::{Command, Ending};

use super::{
    event::Event,
    queue::Ms,
    session::{Attempt, Failed},
    tunnel::{Message, Side, TunnelId},
    world::World,
};

/// How long a dial may take.
const DIAL_WITHIN: Ms = 5_000;

impl World {
    pub(crate) fn dialled(&mut self, id: TunnelId) {
        let gateway = &mut self.gateways[id.gateway];
        let id = TunnelId { gateway_boot: gateway.boot, ..id };
        gateway.fresh.insert(id, self.now);
        self.send(id, Side::Agent, Message::Welcome);
        self.send(id, Side::Agent, Message::Echo);
    }

    pub(crate) fn dial_failed(&mut self, id: TunnelId) {
        let agent = &mut self.agents[id.agent];
        if agent.is_alive && agent.boot == id.boot && agent.dialling.remove(&id.epoch) {
            self.agent_loses(id, Ending::Unreachable);
        }
    }

    /// Carries out what the uplink says, and plans its next step.
    pub(crate) fn uplink_moves(&mut self, number: usize) {
        while let Some(command) = self.agents[number].uplink.poll_command() {
            match command {
                Command::Dial { slot, gateway, epoch } => self.dial(number, slot, gateway, epoch),
                Command::Recycle { epoch, .. } | Command::Release { epoch, .. } => {
                    let known = self.agents[number].tunnels.get(&epoch).copied();
                    if let Some((tunnel, _)) = known {
                        self.note(|| format!("a{number}: {command:?}"));
                        self.send(tunnel, Side::Gateway, Message::Moves);
                        self.agent_loses(tunnel, Ending::Closed);
                    }
                }
            }
        }
        let agent = &mut self.agents[number];
        let due = agent.uplink.poll_timeout();
        let (boot, now) = (agent.boot, self.at());
        let due = due.map(|due| {
            // A step that is due a moment too early would be planned for ever.
            let wait = due.saturating_duration_since(now).as_nanos().div_ceil(1_000_000);
            self.now + u64::try_from(wait).unwrap()
        });
        let agent = &mut self.agents[number];
        if let Some(due) = due.filter(|due| agent.uplink_due.is_none_or(|planned| planned > *due)) {
            agent.uplink_due = Some(due);
            self.queue.plan(due, Event::UplinkDue { agent: number, boot });
        }
    }

    pub(crate) fn uplink_due(&mut self, number: usize) {
        // One that was planned before an earlier one.
        if self.agents[number].uplink_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.agents[number].uplink_due = None;
        let at = self.at();
        self.agents[number].uplink.handle_timeout(at);
        self.uplink_moves(number);
    }

    fn dial(&mut self, number: usize, slot: usize, gateway: usize, epoch: u64) {
        let boot = self.agents[number].boot;
        self.agents[number].dialling.insert(epoch);
        let tunnel = TunnelId { agent: number, boot, epoch, slot, gateway, gateway_boot: 0 };
        let (near, far) = Self::ways(tunnel);
        let open = self.net.is_open(near, far) && self.net.is_open(far, near);
        self.note(|| format!("a{number}: slot {slot} dials g{gateway}, epoch {epoch}"));
        let there = self.net.delay(near, far, &mut self.chance);
        if open && self.gateways[gateway].is_alive {
            self.queue.plan(self.now + there, Event::Dialled { tunnel });
        }
        // A machine that runs no gateway says so; a way that is cut says nothing.
        let refused = open && !self.gateways[gateway].is_alive;
        let fails = if refused { 2 * there } else { DIAL_WITHIN };
        self.queue.plan(self.now + fails, Event::DialFailed { tunnel });
    }

    pub(crate) fn agent_loses(&mut self, id: TunnelId, ending: Ending) {
        let (at, random) = (self.at(), self.chance.bits());
        self.note(|| {
            format!("a{}: slot {} loses epoch {}: {}", id.agent, id.slot, id.epoch, ending.as_str())
        });
        let agent = &mut self.agents[id.agent];
        agent.tunnels.remove(&id.epoch);
        agent.uplink.ended(id.slot, id.epoch, ending, at, random);
        self.uplink_moves(id.agent);
    }

    pub(crate) fn gateway_loses(&mut self, id: TunnelId) {
        let (at, agent) = (self.at(), self.ids[id.agent]);
        if self.gateways[id.gateway].forget(id, agent, at) {
            self.sessions_lose(id);
        }
    }

    /// What a tunnel carried goes on over another one of the same process, if there is one.
    pub(crate) fn gateway_moves(&mut self, id: TunnelId) {
        let others = self.gateways[id.gateway].tunnels.keys();
        let mut others =
            others.filter(|other| other.agent == id.agent && other.boot == id.boot && **other != id);
        if let Some(other) = others.next().copied() {
            for (number, session) in &mut self.sessions {
                let Some(on) = session.on.as_mut().filter(|on| on.tunnel == id) else { continue };
                on.tunnel = other;
                if session.outcome.is_none() {
                    let (attempt, resource) = (on.number, session.resource.clone());
                    let again = Message::Open { session: *number, attempt, resource, revision: 0 };
                    // After those that are told here, in order.
                    self.queue.plan(
                        self.now + 30,
                        Event::Arrives { tunnel: other, side: Side::Agent, message: again },
                    );
                }
            }
        }
        self.gateway_loses(id);
    }

    /// Opens that are under way on a tunnel that ended.
    pub(crate) fn sessions_lose(&mut self, id: TunnelId) {
        let lost = |attempt: &Attempt| attempt.tunnel == id;
        let lost: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.outcome.is_none() && session.on.as_ref().is_some_and(lost))
            .map(|(number, _)| *number)
            .collect();
        for session in lost {
            self.failed(session, Failed::TunnelLost);
        }
    }
}
