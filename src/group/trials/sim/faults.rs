//! What goes wrong, and when.

use std::{sync::Arc, time::Duration};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use turmoil::Sim;

use super::host::Host;

pub(super) struct Faults {
    rng: StdRng,
    names: Vec<String>,
    next: Duration,
    told: Vec<String>,
}

impl Faults {
    pub(super) fn new(rng: StdRng, hosts: &[Arc<Host>]) -> Self {
        let names = hosts.iter().map(|host| host.name()).collect();
        Self { rng, names, next: Duration::ZERO, told: Vec::new() }
    }

    pub(super) fn told(&self) -> String {
        self.told.join(", ")
    }

    /// Does the next thing when it is time.
    pub(super) fn act(&mut self, sim: &mut Sim<'_>, hosts: &[Arc<Host>]) {
        if sim.elapsed() < self.next {
            return;
        }
        self.next = sim.elapsed() + Duration::from_millis(self.rng.random_range(100..1_500));
        let host = hosts.choose(&mut self.rng).unwrap();
        let (one, other) = (host.name(), self.names.choose(&mut self.rng).unwrap().clone());
        let done = match self.rng.random_range(0..10) {
            0 => {
                self.others(&one).for_each(|other| sim.partition(one.as_str(), other));
                format!("{one} alone")
            }
            1 if one != other => {
                sim.partition_oneway(one.as_str(), other.as_str());
                format!("{one} not heard by {other}")
            }
            2 if one != other => {
                sim.partition(one.as_str(), other.as_str());
                format!("{one} and {other} apart")
            }
            3 => {
                let latency = Duration::from_millis(self.rng.random_range(5..80));
                sim.set_max_message_latency(latency);
                format!("up to {latency:?}")
            }
            4 | 5 if host.runs() => {
                host.lose_power(&mut self.rng);
                sim.crash(one.as_str());
                format!("{one} dies")
            }
            4..=6 => match hosts.iter().find(|host| !host.runs()) {
                Some(dead) => {
                    sim.bounce(dead.name());
                    format!("{} starts", dead.name())
                }
                None => return,
            },
            _ => {
                self.repair(sim);
                "all connected".to_owned()
            }
        };
        self.told.push(format!("{:.1} s {done}", sim.elapsed().as_secs_f64()));
    }

    /// All is well again.
    pub(super) fn end(&mut self, sim: &mut Sim<'_>, hosts: &[Arc<Host>]) {
        self.repair(sim);
        sim.set_max_message_latency(Duration::from_millis(10));
        for host in hosts.iter().filter(|host| !host.runs()) {
            sim.bounce(host.name());
        }
    }

    fn repair(&self, sim: &Sim<'_>) {
        for one in &self.names {
            self.others(one).for_each(|other| sim.repair(one.as_str(), other));
        }
    }

    fn others(&self, one: &str) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(move |other| *other != one)
    }
}
