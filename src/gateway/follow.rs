//! Keeping up with what other gateways on the same store change.
//!
//! What is asked of the store each time (users, tokens, agents) needs nothing of the kind. What is kept in memory (who is
//! revoked, what groups are called, where resources listen) is read again when the store says that there are news: at once
//! where it can ring a bell, otherwise by a look at one number twice a second.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use warren_tunnel::CloseReason;

use crate::{
    ingress::Ingress,
    registry::Registry,
    store::{Store, StoreError},
    tunnels::Known,
};

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Follower {
    store: Arc<dyn Store>,
    registry: Registry,
    ingress: Ingress,
    known: Known,
    /// The last revocation that was heard of.
    revocation: u64,
    news: Option<u64>,
    /// The store did not answer the last time; that is told once.
    away: bool,
}

impl Follower {
    pub(crate) fn new(store: Arc<dyn Store>, registry: Registry, ingress: Ingress, known: Known) -> Self {
        Self { store, registry, ingress, known, revocation: 0, news: None, away: false }
    }

    /// Never ends by itself.
    pub(crate) async fn run(mut self) {
        let mut bell = self.store.bell();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Without its sender the store is being closed, and we with it.
                Ok(()) = bell.changed() => {}
                _ = looks.tick() => {}
            }
            match self.look().await {
                Ok(()) if self.away => {
                    self.away = false;
                    info!("store answers again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.away, true) {
                        warn!(error = &error as &dyn Error, "news of the store not read, sessions go on");
                    }
                }
            }
        }
    }

    /// Reads everything again if there are news.
    pub(crate) async fn look(&mut self) -> Result<(), StoreError> {
        // Before the rest: what changes while that is read is found the next time.
        let news = self.store.news().await?;
        if self.news == Some(news) {
            self.known.answered(tokio::time::Instant::now());
            return Ok(());
        }
        self.refuse_revoked().await?;
        self.follow_groups().await?;
        let followed = self.ingress.follow().await?;
        self.known.answered(tokio::time::Instant::now());
        self.news = followed.then_some(news);
        Ok(())
    }

    async fn refuse_revoked(&mut self) -> Result<(), StoreError> {
        for revocation in self.store.revocations(self.revocation).await? {
            let cut = self.registry.cut_agent(revocation.agent, CloseReason::Revoked);
            if cut > 0 {
                info!(member = %revocation.agent, tunnels = cut, "agent revoked, its tunnels are cut");
            }
            self.revocation = self.revocation.max(revocation.number);
        }
        Ok(())
    }

    async fn follow_groups(&mut self) -> Result<(), StoreError> {
        // Those that were known before, so that one that is made meanwhile is not taken for one that is gone.
        let before = self.registry.named();
        let groups = self.store.groups().await?;
        for group in &groups {
            self.registry.name_group(group.id, &group.label());
        }
        for gone in before.into_iter().filter(|id| groups.iter().all(|group| group.id != *id)) {
            info!(group = %gone, "group is gone, its tunnels are cut");
            self.registry.cut_group(gone, CloseReason::Revoked);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
