//! What each fault does to the world, and what undoes it.

use std::time::Duration;

use super::{Active, Director, Phase};
use crate::{
    chaos::{
        desk::{Intent, Order},
        fault::Fault,
        world::Newcomer,
    },
    relay::End,
};

impl Director<'_> {
    /// What needs nobody's consent.
    pub(super) fn strike(&mut self, active: &mut Active) {
        let ids = active.victims.iter().map(|&index| self.world.site.agents[index].id.clone()).collect();
        active.entry = Some(self.ledger.begin(active.fault, ids, self.now()));
        for &index in &active.victims {
            let (agent, ways) = (&mut self.world.site.agents[index], &self.world.members[index]);
            match active.fault {
                Fault::Kill(_) | Fault::LoseQuorum | Fault::KillAll => agent.process.kill(),
                Fault::Stop(_) => agent.process.terminate(),
                Fault::Freeze(_) => agent.process.freeze(),
                Fault::HangUp(_) => agent.process.hang_up(),
                Fault::Cut(_, end) => ways.tunnels.cut(end),
                Fault::Hole(_, holed) => ways.tunnels.black_hole(holed.ways()),
                Fault::Refuse(_) => {
                    ways.tunnels.refuse();
                    ways.tunnels.cut(End::Reset);
                }
                Fault::Delay(_, delay) => ways.tunnels.delay(delay),
                Fault::PeerHole(_, holed) => ways.peers.black_hole(holed.ways()),
                Fault::PeerCut(_, end) => ways.peers.cut(end),
                Fault::PeerDelay(_, delay) => ways.peers.delay(delay),
                _ => {}
            }
        }
        match active.fault {
            Fault::KillGateway => self.world.site.kill_gateway(),
            Fault::StopGateway => self.world.site.gateway.terminate(),
            Fault::FreezeGateway => self.world.site.gateway.freeze(),
            _ => {}
        }
        active.phase = Phase::Holds(self.now() + active.hold);
    }

    /// Its time is over.
    pub(super) fn end(&mut self, active: &mut Active) {
        for &index in &active.victims {
            let (agent, ways) = (&self.world.site.agents[index], &self.world.members[index]);
            match active.fault {
                Fault::Freeze(_) => agent.process.thaw(),
                Fault::Hole(..) | Fault::Refuse(_) => ways.tunnels.heal(),
                Fault::Delay(..) => ways.tunnels.delay(Duration::ZERO),
                Fault::PeerHole(..) => ways.peers.heal(),
                Fault::PeerDelay(..) => ways.peers.delay(Duration::ZERO),
                Fault::Drain(_) | Fault::Disable(_) => {
                    self.desk.give(active.number, Order::Intent(agent.id.clone(), Intent::Enabled));
                }
                _ => {}
            }
        }
        match active.fault {
            Fault::FreezeGateway => self.world.site.gateway.thaw(),
            Fault::Newcomer => self.world.newcomer = None,
            _ => {}
        }
        active.phase = match active.fault {
            Fault::Drain(_) | Fault::Disable(_) => Phase::Asked,
            Fault::Kill(_)
            | Fault::Stop(_)
            | Fault::LoseQuorum
            | Fault::KillAll
            | Fault::KillGateway
            | Fault::StopGateway => return self.returned(active),
            _ => Phase::Gone,
        };
        self.close(active);
    }

    /// Starts those again that have ended, which takes a moment after a SIGTERM, and sees whether they are there; or
    /// whether a newcomer is.
    pub(super) fn returned(&mut self, active: &mut Active) {
        active.phase = Phase::Returns;
        match active.fault {
            Fault::Newcomer => {
                if let Some(id) = self.world.newcomer.as_mut().and_then(Newcomer::id) {
                    self.tell(active.number, &format!("newcomer is {id}"));
                    active.phase = Phase::Serves(self.now() + active.hold);
                }
            }
            Fault::KillGateway | Fault::StopGateway => {
                if self.world.site.gateway.exited().is_some() {
                    self.world.site.restart_gateway();
                    self.close(active);
                    active.phase = Phase::Gone;
                }
            }
            _ => {
                let agents = &mut self.world.site.agents;
                let gone = active.victims.iter().all(|&index| agents[index].process.exited().is_some());
                if gone {
                    // Noted before they begin to come back.
                    self.close(active);
                    active.victims.iter().for_each(|&index| self.world.site.agents[index].restart());
                    return;
                }
                let lasts = active.entry.is_some_and(|entry| self.ledger.lasts(entry));
                let agents = &mut self.world.site.agents;
                for &index in &active.victims {
                    if !lasts && let Some(status) = agents[index].process.exited() {
                        let name = &agents[index].name;
                        self.violations.push(format!("{name} ended with {status} when it was started again"));
                        agents[index].restart();
                    }
                }
                if !lasts && active.victims.iter().all(|&index| agents[index].process.is_ready()) {
                    active.phase = Phase::Gone;
                }
            }
        }
    }
}
