//! What has to be done again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Interval, MissedTickBehavior, interval};
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

/// Shows how groups stand, and renews the gateway's certificate. Never ends by itself, and waits for nobody.
pub(super) async fn run(parts: Parts) {
    let mut shown = BTreeMap::new();
    let [mut standings, mut shows, mut certificates] =
        [STANDINGS_EVERY, METRICS_EVERY, CERTIFICATE_EVERY].map(ticks);
    loop {
        tokio::select! {
            _ = standings.tick() => stand(&parts),
            _ = shows.tick() => show(&parts, &mut shown),
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

/// Tells the other gateways that this one serves, and in the end that it stops.
pub(super) async fn beat(parts: Parts) {
    let (store, drain) = (&parts.foundation.store, &parts.tokens.drain);
    if !store.is_shared() {
        // Nobody else reads it, and each beat is a write to its disk.
        return;
    }
    let beats = async {
        let mut beats = ticks(BEAT_EVERY);
        loop {
            beats.tick().await;
            if let Err(error) = store.beat(&parts.record).await {
                debug!(error = &error as &dyn Error, "not noted in the store that this gateway serves");
            }
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        () = beats => {}
    }
    parts.leave().await;
}

/// Looks who has enrolled. Never ends by itself.
pub(super) async fn follow_enrolled(parts: Parts) {
    let mut looks = ticks(ENROLLED_EVERY);
    loop {
        looks.tick().await;
        if let Err(error) = read_enrolled(&parts, &*parts.foundation.store).await {
            warn!(error = &error as &dyn Error, "enrolled agents not read");
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
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

/// What was shown of a group.
struct Shown {
    label: Arc<str>,
    members: BTreeSet<String>,
}

fn show(parts: &Parts, shown: &mut BTreeMap<GroupId, Shown>) {
    let mut open = parts.sessions.count();
    let mut before = std::mem::take(shown);
    for group in parts.registry.named_groups() {
        let standing = parts.registry.standing(group.group, now_ms());
        let open = open.remove(&group.group).unwrap_or_default();
        let members = metrics::show_group(&group, &standing, open);
        let label = group.label.clone();
        if let Some(was) = before.get(&group.group).filter(|was| was.label == label) {
            metrics::clear_members(&label, was.members.difference(&members));
            before.remove(&group.group);
        }
        shown.insert(group.group, Shown { label, members });
    }
    for Shown { label, members } in before.values() {
        metrics::clear_group(label);
        metrics::clear_members(label, members.iter());
    }
    metrics::certificate("authority", parts.foundation.authority.validity().not_after);
    if let Ok(validity) = parts.certificate.key.validity() {
        metrics::certificate("gateway", validity.not_after);
    }
}
