//! Begins the faults of the plan, ends each when its time is over, and keeps the ledger.

use std::time::{Duration, Instant};

use super::{
    desk::{Desk, Done, Intent, Order},
    fault::{Fault, SETTLE, Who},
    ledger::{Ledger, REVOKED},
    plan::{FOUNDERS, Planned},
    world::{Newcomer, World},
};
use crate::wait;

mod room;
mod strike;

const TICK: Duration = Duration::from_millis(20);
/// What a fault may take beyond its time until all is as before.
const OVER_MAX: Duration = Duration::from_secs(90);

pub(super) struct Director<'a> {
    world: &'a mut World,
    ledger: Ledger,
    desk: Desk,
    start: Instant,
    say: &'a mut dyn FnMut(&str),
    active: Vec<Active>,
    /// Since when each founder is left in peace.
    at_peace: [Duration; FOUNDERS],
    violations: Vec<String>,
    events: Events,
}

/// How many faults were begun, and how many found no room.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Events {
    pub(super) begun: usize,
    pub(super) passed_over: usize,
}

/// What a mix came to, as far as the director knows.
pub(super) struct Outcome {
    pub(super) ledger: Ledger,
    pub(super) violations: Vec<String>,
    pub(super) events: Events,
}

/// A fault under way.
#[derive(Debug)]
struct Active {
    number: usize,
    fault: Fault,
    hold: Duration,
    victims: Vec<usize>,
    /// Its entry in the ledger, once it has begun to hurt.
    entry: Option<usize>,
    phase: Phase,
    begun: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// An admin's order is on its way.
    Asked,
    /// It lasts until then.
    Holds(Duration),
    /// Over, and whoever was hurt is on its way back; or a newcomer on its way.
    Returns,
    /// A newcomer that is a member, until then.
    Serves(Duration),
    Gone,
}

impl<'a> Director<'a> {
    pub(super) fn new(world: &'a mut World, start: Instant, say: &'a mut dyn FnMut(&str)) -> Self {
        let desk = Desk::open(world.site.admin(), start);
        Self {
            world,
            ledger: Ledger::default(),
            desk,
            start,
            say,
            active: Vec::new(),
            at_peace: [Duration::ZERO; FOUNDERS],
            violations: Vec::new(),
            events: Events::default(),
        }
    }

    /// Until the duration is over and no fault lasts.
    pub(super) fn run(&mut self, plan: &[Planned], duration: Duration) {
        let begun = self.now();
        let mut due = plan.iter().enumerate().peekable();
        while self.now() < begun + duration || !self.active.is_empty() {
            self.hear_the_desk();
            self.go_on();
            while let Some((number, planned)) = due.next_if(|(_, one)| begun + one.at <= self.start.elapsed())
            {
                self.begin(number, *planned);
            }
            self.watch();
            wait::until(Instant::now() + TICK);
        }
    }

    pub(super) fn finish(self) -> Outcome {
        Outcome { ledger: self.ledger, violations: self.violations, events: self.events }
    }

    fn begin(&mut self, number: usize, planned: Planned) {
        let Planned { fault, hold, .. } = planned;
        let Some(victims) = self.victims(fault) else {
            self.events.passed_over += 1;
            return self.tell(number, &format!("{fault}: passed over, there is no room beside the others"));
        };
        self.events.begun += 1;
        let names: Vec<_> = victims.iter().map(|index| format!("agent-{}", index + 1)).collect();
        let time = if fault.is_instant() { String::new() } else { format!(" for {hold:.1?}") };
        self.tell(number, &format!("{fault}{time} {}", names.join(" ")));
        let begun = self.now();
        let mut active = Active { number, fault, hold, victims, entry: None, phase: Phase::Asked, begun };
        match order(fault, self.world, &active.victims) {
            Some(order) => self.desk.give(number, order),
            None => self.strike(&mut active),
        }
        self.active.push(active);
    }

    /// Whom it hits, if there is room for it.
    fn victims(&mut self, fault: Fault) -> Option<Vec<usize>> {
        let mute =
            self.active.iter().filter(|one| one.fault.hurts_vote()).flat_map(|one| one.victims.clone());
        let leader = match fault {
            fault if fault == Fault::LoseQuorum || fault.who() == Some(Who::Leader) => {
                self.world.leader(&mute.collect::<Vec<_>>())?
            }
            _ => 0,
        };
        let victims = room::victims(fault, leader);
        let now = self.now();
        let in_peace = victims.iter().all(|&index| self.at_peace[index] <= now);
        let active: Vec<_> = self.active.iter().map(|one| (one.fault, &*one.victims)).collect();
        (in_peace && room::is_there(fault, &victims, &active)).then_some(victims)
    }

    /// Answers to what an admin asked for. What failed may have been done all the same.
    fn hear_the_desk(&mut self) {
        while let Some(Done { fault: number, order, result, at }) = self.desk.done() {
            let Some(position) = self.active.iter().position(|active| active.number == number) else {
                continue;
            };
            let said =
                result.as_ref().map_or_else(|failure| format!("not done, {failure}"), |_| "done".to_owned());
            self.tell(number, &format!("{order:?} {said}"));
            let active = &mut self.active[position];
            match (order, result) {
                (Order::Intent(id, Intent::Draining | Intent::Disabled), Ok(_)) => {
                    active.entry = Some(self.ledger.begin(active.fault, vec![id], at));
                    active.phase = Phase::Holds(at + active.hold);
                }
                (Order::Intent(id, _), Err(_)) => self.desk.give(number, Order::Intent(id, Intent::Enabled)),
                (Order::Token, Ok(token)) => {
                    active.phase = Phase::Returns;
                    self.world.welcome(&token);
                }
                (Order::Revoke(id), Ok(_)) => {
                    self.ledger.is_revoked(&id, at);
                    // It goes on knocking for a while.
                    active.phase = Phase::Holds(at + REVOKED + SETTLE);
                }
                (order @ Order::Revoke(_), Err(_)) => self.desk.give(number, order),
                (Order::Intent(..) | Order::Rotate, Ok(_)) | (Order::Token | Order::Rotate, Err(_)) => {
                    active.phase = Phase::Gone;
                }
            }
        }
    }

    /// Ends what is over, and lets go of what has gone.
    fn go_on(&mut self) {
        let now = self.now();
        let mut all = std::mem::take(&mut self.active);
        for active in &mut all {
            match active.phase {
                Phase::Holds(until) if until <= now => self.end(active),
                Phase::Returns => self.returned(active),
                Phase::Serves(until) if until <= now => {
                    active.phase = Phase::Gone;
                    if let Some(id) = self.world.newcomer.as_mut().and_then(Newcomer::id) {
                        active.phase = Phase::Asked;
                        self.ledger.asks_to_revoke(&id, now);
                        self.desk.give(active.number, Order::Revoke(id));
                    }
                }
                _ => {}
            }
            if active.phase != Phase::Gone && now > active.begun + active.hold + OVER_MAX {
                self.violations.push(format!(
                    "#{} {}: all is not as before after {OVER_MAX:?}, {:?}",
                    active.number, active.fault, active.phase
                ));
                self.close(active);
                active.phase = Phase::Gone;
            }
            if active.phase == Phase::Gone {
                active.victims.iter().for_each(|&index| self.at_peace[index] = now + SETTLE);
                self.tell(active.number, &format!("{}: over", active.fault));
            }
        }
        all.retain(|active| active.phase != Phase::Gone);
        self.active = all;
    }

    /// Nobody ends by himself.
    fn watch(&mut self) {
        for index in 0..FOUNDERS {
            let meant = self.active.iter().any(|active| active.victims.contains(&index));
            let agent = &mut self.world.site.agents[index];
            if !meant && let Some(status) = agent.process.exited() {
                self.violations.push(format!("{} ended by itself with {status}", agent.name));
                agent.restart();
            }
        }
        let meant = self.active.iter().any(|active| active.fault.is_gateways());
        if !meant && let Some(status) = self.world.site.gateway.exited() {
            self.violations.push(format!("the gateway ended by itself with {status}"));
            self.world.site.restart_gateway();
        }
    }

    fn close(&mut self, active: &Active) {
        let now = self.now();
        active.entry.into_iter().for_each(|entry| self.ledger.end(entry, now));
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn tell(&mut self, number: usize, what: &str) {
        let at = self.now().as_secs_f64();
        (self.say)(&format!("{at:9.3} #{number:<4} {}", what.trim_end()));
    }
}

/// What an admin has to be asked for.
fn order(fault: Fault, world: &World, victims: &[usize]) -> Option<Order> {
    let id = || world.site.agents[victims[0]].id.clone();
    match fault {
        Fault::Drain(_) => Some(Order::Intent(id(), Intent::Draining)),
        Fault::Disable(_) => Some(Order::Intent(id(), Intent::Disabled)),
        Fault::Rotate => Some(Order::Rotate),
        Fault::Newcomer => Some(Order::Token),
        _ => None,
    }
}
