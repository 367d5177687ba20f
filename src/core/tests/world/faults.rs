//! What may go wrong, and for how long.

use super::{chance::Chance, net::Node, queue::Ms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What goes this way does not arrive.
    Cut(Node, Node),
    /// Slow and lossy, both ways.
    Poor(Node, Node),
    /// The process dies, and another starts at the end. `told` when the kernel resets its connections.
    Crash { node: Node, told: bool },
    /// The process stands still; what comes in waits.
    Freeze(Node),
    /// The wall clock is off by so many seconds.
    Clock { agent: usize, by_s: i64 },
    /// The target refuses.
    Target(usize),
    /// One member cannot reach the target.
    Path { agent: usize, resource: usize },
    /// The member answers every open at once, with an error of its own.
    FailsFast(usize),
    /// Everything takes fifty times as long.
    Slow(usize),
    /// Hardly any files left.
    Exhausted(usize),
    /// The agent asks for nothing new.
    Drains(usize),
    /// The gateway tells its agents to look for another.
    GatewayDrains(usize),
}

/// One fault with its time.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) at: Ms,
    pub(crate) lasts: Ms,
    pub(crate) fault: Fault,
}

/// Draws the faults of a life of `agents`, `gateways` and `resources`, between the times.
pub(crate) fn draw(
    chance: &mut Chance,
    (agents, gateways, resources): (usize, usize, usize),
    (from, until): (Ms, Ms),
    count: usize,
) -> Vec<Planned> {
    let one = |_| {
        let (agent, gateway) = (chance.pick(agents), chance.pick(gateways));
        let (other, resource) = (chance.pick(agents), chance.pick(resources));
        let (near, far) = match chance.pick(2) {
            0 => (Node::Agent(agent), Node::Gateway(gateway)),
            _ => (Node::Agent(agent), Node::Agent(other)),
        };
        let node = if chance.percent(70) { Node::Agent(agent) } else { Node::Gateway(gateway) };
        let fault = match chance.pick(16) {
            0 | 1 => Fault::Cut(near, far),
            2 => Fault::Cut(far, near),
            3 => Fault::Poor(near, far),
            4 | 5 => Fault::Crash { node, told: chance.percent(50) },
            6 | 7 => Fault::Freeze(node),
            8 => Fault::Clock { agent, by_s: if chance.percent(50) { 3_600 } else { -3_600 } },
            9 => Fault::Target(resource),
            10 => Fault::Path { agent, resource },
            11 => Fault::FailsFast(agent),
            12 => Fault::Slow(agent),
            13 => Fault::Exhausted(agent),
            14 => Fault::Drains(agent),
            _ => Fault::GatewayDrains(gateway),
        };
        let at = chance.between(from, until);
        let lasts =
            if chance.percent(50) { chance.between(200, 6_000) } else { chance.between(3_000, 20_000) };
        Planned { at, lasts: lasts.min(until.saturating_sub(at).max(1)), fault }
    };
    (0..count).map(one).collect()
}
