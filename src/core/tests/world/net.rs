//! The network between everybody: delays, loss, and cuts that may be one way only.
//!
//! A tunnel is a stream: what is lost is sent again and so comes late, never in another order; what is sent while the way
//! is cut comes when it is mended, if the tunnel still lives then.

use std::collections::{BTreeMap, BTreeSet};

use super::{chance::Chance, queue::Ms};

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Agent(usize),
    Gateway(usize),
}

/// How long a lost piece waits to be sent again.
const AGAIN: Ms = 200;

#[derive(Debug, Default)]
pub(crate) struct Net {
    cut: BTreeMap<(Node, Node), u32>,
    /// Ways that are slow and lose a fifth.
    poor: BTreeSet<(Node, Node)>,
}

impl Net {
    /// Cuts overlap; a way is open when as many were mended.
    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        *self.cut.entry((from, to)).or_default() += 1;
    }

    pub(crate) fn mend(&mut self, from: Node, to: Node) {
        if let Some(cuts) = self.cut.get_mut(&(from, to)) {
            *cuts = cuts.saturating_sub(1);
        }
    }

    pub(crate) fn spoil(&mut self, from: Node, to: Node, poor: bool) {
        if poor {
            self.poor.insert((from, to));
        } else {
            self.poor.remove(&(from, to));
        }
    }

    pub(crate) fn is_open(&self, from: Node, to: Node) -> bool {
        self.cut.get(&(from, to)).is_none_or(|cuts| *cuts == 0)
    }

    /// How long the next piece takes.
    pub(crate) fn delay(&self, from: Node, to: Node, chance: &mut Chance) -> Ms {
        let is_poor = self.poor.contains(&(from, to));
        let mut delay = if is_poor { chance.between(150, 400) } else { chance.between(2, 12) };
        let loss = if is_poor { 20 } else { 1 };
        let mut again = AGAIN;
        while chance.percent(loss) {
            delay += again;
            again *= 2;
        }
        delay
    }
}
