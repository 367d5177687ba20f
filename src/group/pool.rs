//! One pooled connection per member, and the address book behind it.

use std::{
    collections::{BTreeMap, btree_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tonic::transport::Channel;
use warren_core::id::{AgentId, GroupId};
use warren_wire::v1::{Envelope, peer_client::PeerClient};

use crate::{fence::Mark, options::PeerDialer};

/// The largest message between members. Entries go in messages far below it, snapshots in chunks.
pub(crate) const MESSAGE_MAX: usize = 32 << 20;
/// A channel is made anew after this many calls in a row did not reach the member: what it holds may be a dead
/// connection, or an address that was resolved long ago.
const MISSES_MAX: u8 = 2;

/// This member's connections to the others, and what goes into the envelope of each call.
#[derive(Debug)]
pub(crate) struct Pool {
    group: GroupId,
    me: AgentId,
    dialer: Arc<dyn PeerDialer>,
    peers: Mutex<BTreeMap<AgentId, Peer>>,
}

#[derive(Debug, Default)]
struct Peer {
    /// What the replicated membership says.
    seat: Option<String>,
    /// What the member itself told since; wins until the membership changes. It lets members that all moved at once
    /// find each other before there is a leader to write the new addresses down.
    told: Option<String>,
    channel: Option<Channel>,
    misses: u8,
}

impl Pool {
    pub(crate) fn new(group: GroupId, me: AgentId, dialer: Arc<dyn PeerDialer>) -> Self {
        Self { group, me, dialer, peers: Mutex::default() }
    }

    /// `own` is this member's log, `to_log` the number of the one that is meant.
    pub(crate) fn envelope(&self, to: AgentId, own: Mark, to_log: u64) -> Option<Envelope> {
        Some(Envelope {
            group: self.group.to_string(),
            from: self.me.to_string(),
            to: to.to_string(),
            epoch: own.epoch,
            from_log: own.log,
            to_log,
        })
    }

    /// The connection to a member that the replicated membership seats at `address`.
    pub(crate) fn client(&self, peer: AgentId, address: &str) -> PeerClient<Channel> {
        let mut peers = self.peers();
        let known = match peers.entry(peer) {
            btree_map::Entry::Vacant(entry) => entry.insert(Peer::default()),
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
        };
        if known.seat.as_deref() != Some(address) {
            let moved = known.seat.replace(address.to_owned()).is_some();
            if moved {
                known.told = None;
            }
            known.channel = None;
        }
        let address = known.told.as_deref().unwrap_or(address);
        let channel = known.channel.get_or_insert_with(|| self.dialer.channel(peer, address));
        wrap(channel.clone())
    }

    /// A connection outside the pool, for an address that nobody has vouched for.
    pub(crate) fn stranger(&self, peer: AgentId, address: &str) -> PeerClient<Channel> {
        wrap(self.dialer.channel(peer, address))
    }

    /// A member proved to be at `address`.
    pub(crate) fn learn(&self, peer: AgentId, address: &str) {
        let mut peers = self.peers();
        let known = peers.entry(peer).or_default();
        if known.told.as_deref().or(known.seat.as_deref()) != Some(address) {
            tracing::info!(%peer, address, "member has another address");
            known.told = Some(address.to_owned());
            known.channel = None;
        }
    }

    /// What a call came to, for the next one.
    pub(crate) fn outcome(&self, peer: AgentId, reached: bool) {
        let mut peers = self.peers();
        let Some(known) = peers.get_mut(&peer) else { return };
        known.misses = if reached { 0 } else { known.misses + 1 };
        if known.misses >= MISSES_MAX {
            tracing::debug!(%peer, "connection is made anew");
            known.misses = 0;
            known.channel = None;
        }
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<AgentId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrap(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tonic::transport::Endpoint;

    use super::*;

    #[derive(Debug, Default)]
    struct Counting {
        dialled: Mutex<Vec<String>>,
        count: AtomicUsize,
    }

    impl PeerDialer for Arc<Counting> {
        fn channel(&self, _: AgentId, address: &str) -> Channel {
            self.dialled.lock().unwrap().push(address.to_owned());
            self.count.fetch_add(1, Ordering::Relaxed);
            Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
        }
    }

    #[tokio::test]
    async fn connections_are_kept_until_they_fail_or_the_member_moves() {
        let dialer = Arc::new(Counting::default());
        let pool = Pool::new(GroupId::from_random(1), AgentId::from_random(1), Arc::new(dialer.clone()));
        let peer = AgentId::from_random(2);
        for _ in 0..3 {
            pool.client(peer, "a:1");
        }
        assert_eq!(dialer.count.load(Ordering::Relaxed), 1);
        pool.outcome(peer, false);
        pool.outcome(peer, true);
        pool.outcome(peer, false);
        pool.client(peer, "a:1");
        assert_eq!(dialer.count.load(Ordering::Relaxed), 1, "two misses in a row, not in all");
        pool.outcome(peer, false);
        pool.client(peer, "a:1");
        assert_eq!(dialer.count.load(Ordering::Relaxed), 2);
        // The member itself says that it moved; the membership follows later, and wins when it changes again.
        pool.learn(peer, "b:1");
        pool.client(peer, "a:1");
        pool.client(peer, "b:1");
        pool.client(peer, "c:1");
        assert_eq!(*dialer.dialled.lock().unwrap(), ["a:1", "a:1", "b:1", "b:1", "c:1"]);
    }
}
