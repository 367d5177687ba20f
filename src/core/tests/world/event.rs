//! What happens, and to whom.

use warren_core::id::Name;

use super::{
    queue::Ms,
    tunnel::{Message, Side, TunnelId},
    world::World,
};

#[derive(Debug)]
pub(crate) enum Event {
    Arrives {
        tunnel: TunnelId,
        side: Side,
        message: Message,
    },
    Dialled {
        tunnel: TunnelId,
    },
    DialFailed {
        tunnel: TunnelId,
    },
    UplinkDue {
        agent: usize,
        boot: u32,
    },
    AgentPings {
        agent: usize,
        boot: u32,
    },
    GatewayPings {
        gateway: usize,
        boot: u32,
    },
    Probe {
        agent: usize,
        boot: u32,
        resource: Name,
    },
    Tell {
        agent: usize,
        boot: u32,
    },
    TargetAnswers {
        tunnel: TunnelId,
        session: u64,
        attempt: usize,
        resource: Name,
    },
    Group,
    Call,
    TryAgain {
        session: u64,
    },
    NoAnswer {
        session: u64,
        attempt: usize,
    },
    Over {
        session: u64,
    },
    Begins(usize),
    Ends(usize),
    Edit,
    /// Something that a test wants done.
    Do(usize),
}

impl World {
    /// Until when the process that the event happens to stands still.
    pub(crate) fn frozen(&self, event: &Event) -> Option<Ms> {
        let agent = |number: usize| self.agents[number].frozen_until;
        let gateway = |number: usize| self.gateways[number].frozen_until;
        let until = match event {
            Event::Arrives { tunnel, side: Side::Agent, .. } | Event::TargetAnswers { tunnel, .. } => {
                agent(tunnel.agent)
            }
            Event::Arrives { tunnel, side: Side::Gateway, .. } | Event::Dialled { tunnel } => {
                gateway(tunnel.gateway)
            }
            Event::DialFailed { tunnel } => agent(tunnel.agent),
            Event::UplinkDue { agent: number, .. }
            | Event::AgentPings { agent: number, .. }
            | Event::Probe { agent: number, .. }
            | Event::Tell { agent: number, .. } => agent(*number),
            Event::GatewayPings { gateway: number, .. } => gateway(*number),
            Event::TryAgain { session } | Event::NoAnswer { session, .. } | Event::Over { session } => {
                self.sessions.get(session).map_or(0, |session| gateway(session.gateway))
            }
            Event::Group | Event::Call | Event::Begins(_) | Event::Ends(_) | Event::Edit | Event::Do(_) => 0,
        };
        (until > self.now).then_some(until)
    }

    pub(crate) fn step(&mut self, event: Event) {
        match event {
            Event::Arrives { tunnel, side, message } => self.arrives(tunnel, side, message),
            Event::Dialled { tunnel } => self.dialled(tunnel),
            Event::DialFailed { tunnel } => self.dial_failed(tunnel),
            Event::UplinkDue { agent, boot } if self.runs(agent, boot) => self.uplink_due(agent),
            Event::AgentPings { agent, boot } if self.runs(agent, boot) => self.agent_pings(agent),
            Event::GatewayPings { gateway, boot } => {
                if self.gateways[gateway].is_alive && self.gateways[gateway].boot == boot {
                    self.gateway_pings(gateway);
                }
            }
            Event::Probe { agent, boot, resource } if self.runs(agent, boot) => self.probe(agent, &resource),
            Event::Tell { agent, boot } if self.runs(agent, boot) => self.tell(agent),
            Event::UplinkDue { .. } | Event::AgentPings { .. } | Event::Probe { .. } | Event::Tell { .. } => {
            }
            Event::TargetAnswers { tunnel, session, attempt, resource } => {
                self.target_answers(tunnel, session, attempt, &resource);
            }
            Event::Group => self.group(),
            Event::Call => self.call(),
            Event::TryAgain { session } => self.try_again(session),
            Event::NoAnswer { session, attempt } => self.no_answer(session, attempt),
            Event::Over { session } => self.over(session),
            Event::Begins(number) => self.fault(number, true),
            Event::Ends(number) => self.fault(number, false),
            Event::Edit => self.edit(),
            Event::Do(number) => {
                if let Some(deed) = self.deeds[number].take() {
                    deed(self);
                }
            }
        }
    }

    fn runs(&self, agent: usize, boot: u32) -> bool {
        self.agents[agent].is_alive && self.agents[agent].boot == boot
    }
}
