//! Which tunnels are given up, and who was told.
//!
//! Before a session is carried on, the peer must have heard of every tunnel that had to do with it: a word about the session
//! that still comes in on one of those would move it back. So what was said on a tunnel that has ended itself, perhaps
//! unheard, is said again on the next.

use std::collections::{BTreeMap, BTreeSet};

use super::TunnelKey;

/// Epochs remembered of each sort; of tunnels that ended long before, the peer knows by itself.
const REMEMBERED: usize = 32;

/// Tunnels by epoch.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Ended here; not said on any tunnel that still lives.
    untold: BTreeSet<u64>,
    /// Said on that tunnel.
    told: BTreeMap<TunnelKey, BTreeSet<u64>>,
    /// Given up by the peer, perhaps before they joined here.
    forsaken: BTreeSet<u64>,
}

impl News {
    /// A tunnel has ended, and with it the certainty that what was said on it was heard.
    pub(super) fn ended(&mut self, key: TunnelKey, epoch: u64) {
        self.untold.extend(self.told.remove(&key).unwrap_or_default());
        self.untold.insert(epoch);
        trim(&mut self.untold);
    }

    /// What is to be said on that tunnel now.
    pub(super) fn tell(&mut self, key: TunnelKey) -> BTreeSet<u64> {
        let epochs = std::mem::take(&mut self.untold);
        if !epochs.is_empty() {
            let told = self.told.entry(key).or_default();
            told.extend(&epochs);
            trim(told);
        }
        epochs
    }

    /// The peer has given that tunnel up.
    pub(super) fn heard(&mut self, epoch: u64) {
        self.forsaken.insert(epoch);
        trim(&mut self.forsaken);
    }

    pub(super) fn is_forsaken(&self, epoch: u64) -> bool {
        self.forsaken.contains(&epoch)
    }
}

fn trim(epochs: &mut BTreeSet<u64>) {
    while epochs.len() > REMEMBERED {
        epochs.pop_first();
    }
}
