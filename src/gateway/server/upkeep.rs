//! What has to be done again and again.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use warren_core::id::{AgentId, GroupId};
use warren_tunnel::CloseReason;

use super::Parts;
use crate::{
    admin::now_ms,
    metrics,
    store::{Store, StoreError},
};

/// How soon a revocation by another gateway on the same store bites here.
const REVOCATIONS_EVERY: Duration = Duration::from_secs(2);
/// How exact the time is since which a group is in its state.
const STANDINGS_EVERY: Duration = Duration::from_secs(1);
/// Enrolments are rare, and whoever asks for a group's status has them read at once.
const ENROLLED_EVERY: Duration = Duration::from_secs(30);
const METRICS_EVERY: Duration = Duration::from_secs(5);
const CERTIFICATE_EVERY: Duration = Duration::from_secs(3_600);

/// What must be known before anybody is let in.
pub(super) async fn start(parts: &Parts) -> Result<(), StoreError> {
    let store = &*parts.foundation.store;
    refuse_revoked(parts, store, &AtomicU64::new(0)).await?;
    for group in store.groups().await? {
        parts.registry.name_group(group.id, &group.label());
    }
    Ok(())
}

/// Never ends by itself.
pub(super) async fn run(parts: Parts) {
    let store = parts.foundation.store.clone();
    let seen = AtomicU64::new(0);
    let mut labels = BTreeMap::new();
    let [mut revocations, mut standings, mut enrolled, mut shows, mut certificates] =
        [REVOCATIONS_EVERY, STANDINGS_EVERY, ENROLLED_EVERY, METRICS_EVERY, CERTIFICATE_EVERY].map(|every| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
    loop {
        tokio::select! {
            _ = revocations.tick() => {
                if let Err(error) = refuse_revoked(&parts, &*store, &seen).await {
                    warn!(error = &error as &dyn Error, "revocations not read");
                }
            }
            _ = enrolled.tick() => {
                if let Err(error) = read_enrolled(&parts, &*store).await {
                    warn!(error = &error as &dyn Error, "enrolled agents not read");
                }
            }
            _ = standings.tick() => stand(&parts),
            _ = shows.tick() => show(&parts, &mut labels),
            _ = certificates.tick() => match parts.certificate.renew_if_due(SystemTime::now()) {
                Ok(true) => info!("gateway's own certificate renewed"),
                Ok(false) => {}
                Err(error) => {
                    warn!(error = &error as &dyn Error, "gateway's own certificate not renewed");
                }
            }
        }
    }
}

async fn refuse_revoked(parts: &Parts, store: &dyn Store, seen: &AtomicU64) -> Result<(), StoreError> {
    for revocation in store.revocations(seen.load(Relaxed)).await? {
        let cut = parts.registry.cut_agent(revocation.agent, CloseReason::Revoked);
        if cut > 0 {
            info!(member = %revocation.agent, tunnels = cut, "agent revoked, its tunnels are cut");
        }
        seen.fetch_max(revocation.number, Relaxed);
    }
    Ok(())
}

async fn read_enrolled(parts: &Parts, store: &dyn Store) -> Result<(), StoreError> {
    let mut groups: BTreeMap<GroupId, Vec<AgentId>> = BTreeMap::new();
    for agent in store.agents(None).await?.into_iter().filter(|agent| agent.revoked_s.is_none()) {
        groups.entry(agent.group).or_default().push(agent.id);
    }
    for group in parts.registry.named_groups() {
        parts.registry.enrolled(group.group, groups.remove(&group.group).unwrap_or_default());
    }
    Ok(())
}

/// Notes how each group stands, so that it is known since when.
fn stand(parts: &Parts) {
    for group in parts.registry.named_groups() {
        parts.registry.standing(group.group, now_ms());
    }
}

fn show(parts: &Parts, labels: &mut BTreeMap<GroupId, Arc<str>>) {
    let mut open = parts.sessions.count();
    let mut shown = BTreeMap::new();
    for group in parts.registry.named_groups() {
        let standing = parts.registry.standing(group.group, now_ms());
        metrics::show_group(&group, &standing, open.remove(&group.group).unwrap_or(0));
        shown.insert(group.group, group.label.clone());
    }
    for (_, label) in labels.iter().filter(|(id, label)| shown.get(id) != Some(*label)) {
        metrics::clear_group(label);
    }
    *labels = shown;
    metrics::certificate("authority", parts.foundation.authority.validity().not_after);
    if let Ok(validity) = parts.certificate.key.validity() {
        metrics::certificate("gateway", validity.not_after);
    }
}
