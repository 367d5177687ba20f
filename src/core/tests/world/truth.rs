//! What is really the case, for those who judge what the others made of it.

use std::collections::BTreeMap;

use super::{faults::Fault, net::Node, queue::Ms};

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    Process(Node),
    Way(Node, Node),
    Target(usize),
    Path(usize, usize),
    /// Answers of its own, slowness, hardly any files, drains.
    Member(usize),
}

/// Faults that are on, and when the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Truth(BTreeMap<Of, (u32, Ms)>);

impl Truth {
    pub(crate) fn note(&mut self, fault: &Fault, begins: bool, now: Ms) {
        let of = match *fault {
            Fault::Cut(from, to) | Fault::Poor(from, to) => Of::Way(from.min(to), from.max(to)),
            Fault::Crash { node, .. } | Fault::Freeze(node) => Of::Process(node),
            Fault::Target(resource) => Of::Target(resource),
            Fault::Path { agent, resource } => Of::Path(agent, resource),
            Fault::FailsFast(agent) | Fault::Slow(agent) | Fault::Exhausted(agent) | Fault::Drains(agent) => {
                Of::Member(agent)
            }
            Fault::GatewayDrains(gateway) => Of::Process(Node::Gateway(gateway)),
            Fault::Clock { .. } => return,
        };
        let (on, ended) = self.0.entry(of).or_default();
        *on = if begins { *on + 1 } else { on.saturating_sub(1) };
        *ended = now;
    }

    pub(crate) fn is_on(&self, of: Of) -> bool {
        self.0.get(&of).is_some_and(|(on, _)| *on > 0)
    }

    /// It is on, or was within this time.
    pub(crate) fn was_on(&self, of: Of, within: Ms, now: Ms) -> bool {
        self.0.get(&of).is_some_and(|(on, ended)| *on > 0 || ended + within >= now)
    }
}
