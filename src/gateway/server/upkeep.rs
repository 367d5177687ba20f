//! What has to be done again and again.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};
use warren_core::id::{AgentId, GroupId};

use super::Parts;
use crate::{
    admin::now_ms,
    metrics,
    store::{Store, StoreError},
};

/// How often other gateways on the same store are told that this one serves.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How exact the time is since which a group is in its state.
const STANDINGS_EVERY: Duration = Duration::from_secs(1);
/// Enrolments are rare, and whoever asks for a group's status has them read at once.
const ENROLLED_EVERY: Duration = Duration::from_secs(30);
const METRICS_EVERY: Duration = Duration::from_secs(5);
const CERTIFICATE_EVERY: Duration = Duration::from_secs(3_600);

/// Never ends by itself. `left` is told once the others know that this gateway stops.
pub(super) async fn run(parts: Parts, left: oneshot::Sender<()>) {
    let store = parts.foundation.store.clone();
    let mut labels = BTreeMap::new();
    let [mut beats, mut standings, mut enrolled, mut shows, mut certificates] =
        [BEAT_EVERY, STANDINGS_EVERY, ENROLLED_EVERY, METRICS_EVERY, CERTIFICATE_EVERY].map(|every| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
    let mut left = Some(left);
    loop {
        tokio::select! {
            () = parts.tokens.drain.cancelled(), if left.is_some() => {
                parts.leave().await;
                if let Some(left) = left.take() {
                    // Who does not wait for it any more has no use for it.
                    let _ = left.send(());
                }
            }
            // Nobody else reads a store that is not shared, and each beat is a write to its disk.
            _ = beats.tick(), if store.is_shared() && left.is_some() => {
                if let Err(error) = store.beat(&parts.record).await {
                    debug!(error = &error as &dyn Error, "not noted in the store that this gateway serves");
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
        metrics::show_group(&group, &standing, open.remove(&group.group).unwrap_or_default());
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
