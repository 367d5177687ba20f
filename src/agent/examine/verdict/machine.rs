//! What the agent is told, and the disk that it has.

use std::{io, path::Path, time::Duration};

use warren_core::{
    fields::ConfigError,
    state::Verdict,
    vitals::{Vital, Vitals},
};
use warren_group::Profile;

use super::ms;
use crate::{
    config::AgentConfig,
    examine::{
        check::{Check, Hop},
        folder,
    },
};

pub(in crate::examine) fn settings(config: &AgentConfig) -> Check {
    let gateways = config.gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let seen = format!("agent `{}` of {gateways}, data in {}", config.name, config.data_dir.display());
    Check::ok(Hop::Settings, seen)
}

pub(in crate::examine) fn wrong_settings(error: &ConfigError) -> Check {
    let advice = "set right what is named; `warren doctor` takes the same --config FILE, flags and environment as \
                  `warren agent`, and an installed agent's file is /etc/warren/agent.yaml";
    Check::failed(Hop::Settings, error.to_string(), advice)
}

pub(in crate::examine) fn folder(path: &Path, seen: &folder::Seen) -> Check {
    use folder::Seen;
    let shown = path.display();
    let elsewhere = "give a folder that the agent's user may write to with --data-dir, or run as that user";
    match seen {
        Seen::Ours { syncs: Ok(_) } => Check::ok(Hop::Folder, format!("{shown} is ours, and can be written")),
        Seen::Ours { syncs: Err(error) } => {
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on this disk",
                _ => elsewhere,
            };
            Check::failed(Hop::Folder, format!("{shown} cannot be written: {error}"), advice)
        }
        Seen::Others { owner, we: 0 } => {
            Check::ok(Hop::Folder, format!("{shown} belongs to user {owner}; only read, as this is root"))
        }
        Seen::Others { owner, we } => {
            Check::warn(Hop::Folder, format!("{shown} belongs to user {owner}, and this runs as {we}"))
                .advise("run it as the agent's user, or as root")
        }
        Seen::Absent { above, would: Ok(()) } => {
            Check::ok(Hop::Folder, format!("{shown} will be made in {}", above.display()))
        }
        Seen::Absent { above, would: Err(error) } => {
            let seen = format!("{shown} is not there and cannot be made in {}: {error}", above.display());
            Check::failed(Hop::Folder, seen, elsewhere)
        }
        Seen::NotAFolder => Check::failed(Hop::Folder, format!("{shown} is no folder"), elsewhere),
        Seen::Hidden(error) => {
            Check::failed(Hop::Folder, format!("{shown} cannot be looked at: {error}"), elsewhere)
        }
    }
}

/// Judged by the marks that a running agent judges its own disk by; bytes.
pub(in crate::examine) fn space(used: u64, size: u64) -> Check {
    let mut vitals = Vitals::default();
    vitals.read(Vital::Disk, used, size, 0);
    let (disk, free) = (vitals.of(Vital::Disk), size.saturating_sub(used));
    let seen = format!("{:.1} GB free, {} % used", free as f64 / 1e9, disk.permille() / 10);
    let advice = "make room: a member whose disk is full takes no edits until there is some";
    match disk.verdict {
        Verdict::Up => Check::ok(Hop::Space, seen),
        Verdict::Suspect => Check::warn(Hop::Space, seen).advise(advice),
        Verdict::Down => Check::failed(Hop::Space, seen, advice),
    }
}

/// `syncs` are the times of several, at least one.
pub(in crate::examine) fn sync(mut syncs: Vec<Duration>, profile: Profile) -> Check {
    syncs.sort_unstable();
    let (median, worst) = (syncs[syncs.len() / 2], syncs[syncs.len() - 1]);
    let seen = format!("{} synced writes: {} in the middle, {} at worst", syncs.len(), ms(median), ms(worst));
    let max = profile.sync_max();
    if median <= max {
        return Check::ok(Hop::Sync, seen).took(median);
    }
    let why = format!(
        "the group's log syncs before each answer, and more than {} makes members of profile {} take a healthy leader for dead",
        ms(max),
        profile.as_str()
    );
    let what = match profile {
        Profile::SlowDisk => "look for what else writes to this disk, or take another one",
        Profile::Lan | Profile::Wan => {
            "look for what else writes to this disk, or give all members of the group profile slow-disk"
        }
    };
    Check::warn(Hop::Sync, seen).took(median).advise(format!("{why}: {what}"))
}
