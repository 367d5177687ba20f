//! What the processes hold: memory, file descriptors, sessions.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::world::World;
use crate::{Process, http, within};

/// Within this time what the faults have cost is given back.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Beyond a tenth: what fills by and by and has a bound (records of sessions, the group's history), and the last
/// pages of an allocator.
const RESIDENT_SLACK: u64 = 12 << 20;
const FILES_SLACK: usize = 12;

/// Of each process, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage(pub(super) Vec<(String, Held)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) resident: u64,
    pub(super) files: usize,
}

impl Usage {
    pub(super) fn of(world: &mut World) -> Self {
        let agents = world.site.agents.iter().map(|agent| (agent.name.clone(), Held::of(&agent.process)));
        Self([("gateway".to_owned(), Held::of(&world.site.gateway))].into_iter().chain(agents).collect())
    }

    /// What is held beyond what was held before, a tenth and a little more.
    fn beyond(&self, before: &Self) -> Option<String> {
        let grown = self.0.iter().zip(&before.0).filter(|((_, now), (_, then))| {
            now.resident > then.resident * 11 / 10 + RESIDENT_SLACK
                || now.files > then.files * 11 / 10 + FILES_SLACK
        });
        let told: Vec<_> = grown
            .map(|((name, now), (_, then))| {
                format!(
                    "{name} holds {} MiB and {} files after {} MiB and {} before",
                    now.resident >> 20,
                    now.files,
                    then.resident >> 20,
                    then.files
                )
            })
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

impl Held {
    fn of(process: &Process) -> Self {
        let files = fs::read_dir(format!("/proc/{}/fd", process.id())).map_or(0, Iterator::count);
        Self { resident: process.resident_bytes(), files }
    }
}

/// Waits under the same load until no more is held than before; what is held, and what is too much.
pub(super) fn wait_for(world: &mut World, before: &Usage) -> (Usage, Option<String>) {
    let fits = within(BACK_WITHIN, || {
        let usage = Usage::of(world);
        usage.beyond(before).is_none().then_some(usage)
    });
    match fits {
        Some((usage, _)) => (usage, None),
        None => {
            let usage = Usage::of(world);
            let beyond =
                usage.beyond(before).map(|beyond| format!("not given back within {BACK_WITHIN:?}: {beyond}"));
            (usage, beyond)
        }
    }
}

/// Waits, when no caller is left, until the gateway has no session either.
pub(super) fn wait_for_silence(world: &mut World) -> Option<String> {
    let address = world.site.gateway.address("metrics");
    let sessions = || {
        let (_, text) = http::get(address, "/metrics").ok()?;
        Some(http::sum(&text, "warren_gateway_sessions", ""))
    };
    let begun = Instant::now();
    let silent = within(BACK_WITHIN, || sessions().filter(|open| *open == 0.0));
    silent
        .is_none()
        .then(|| format!("sessions are left {:?} after the last caller: {:?}", begun.elapsed(), sessions()))
}
