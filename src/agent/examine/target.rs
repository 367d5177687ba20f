//! The quick start's target, dialled as a session would: by name, under the site's veto.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use warren_core::{id::AgentId, view::GroupView};

use super::{Check, Sheet, check::Hop, verdict};
use crate::{config::AgentConfig, targets::Targets};

/// More than the dial's own bound, which the site sets.
const MARGIN: Duration = Duration::from_secs(1);

pub(super) async fn look<T: FnMut(&Check)>(config: &AgentConfig, sheet: &mut Sheet<T>) {
    let Some(app) = &config.app else { return };
    // The group's own rules are in its log, which is not read here.
    let nobody = GroupView::new(AgentId::from_random(0), Arc::default());
    let (_view, view) = watch::channel(Arc::new(nobody));
    let (_live, live) = watch::channel(Arc::new(config.live.clone()));
    let (targets, within) = (Targets::new(view, live), config.live.dial_timeout);
    match sheet.step(within + MARGIN, targets.dial(&app.target, within)).await {
        Ok(timed) => {
            sheet.note(verdict::target(&app.target, timed.came.as_ref().map(drop)).took(timed.took));
        }
        Err(late) => sheet.note(verdict::late(Hop::Target, late).of(&app.target)),
    }
}
