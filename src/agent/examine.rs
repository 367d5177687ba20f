//! Looking at an agent's machine from beside the agent: every hop from its settings to the gateway, and what is behind.
//!
//! ```text
//! settings ─▶ folder ─▶ identity ─▶ for each gateway: way ─▶ name ─▶ tcp ─▶ proxy ─▶ tls ─▶ answer ─▶ clock
//!                                └▶ the agent that runs: its tunnels, its group, its targets    └▶ the quick start's target
//! ```
//! `verdict` and `running` decide what an observation means, without IO; the other files observe. Nothing here takes a
//! lock, opens the group's log, makes a tunnel or enrols: an agent that runs, and one that starts meanwhile, feel
//! nothing of it. The log is the running agent's alone, so that members and targets are told by that agent itself.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use warren_core::fields::ConfigError;

use crate::config::AgentConfig;

mod check;
mod folder;
mod gateway;
mod identity;
mod running;
mod target;
#[cfg(test)]
mod tests;
mod verdict;

pub use check::{Check, Hop, Outcome, Report, Status};

/// How long a look at the data folder may take: on a network's disk it may hang.
const FOLDER_WITHIN: Duration = Duration::from_secs(5);

/// Walks every hop in order and hands each check to `tell` as it is done. Takes `within` at most: what has no time left has
/// failed. Each step has a bound of its own besides, 15 s through a proxy and 5 s else.
pub async fn examine(config: &AgentConfig, within: Duration, tell: impl FnMut(&Check)) -> Report {
    let mut sheet = Sheet { checks: Vec::new(), tell, until: Instant::now() + within };
    sheet.note(verdict::settings(config));
    folder::look(config, &mut sheet).await;
    let own = identity::look(config, &mut sheet).await;
    for gateway in &config.gateways {
        gateway::walk(config, &own, gateway, &mut sheet).await;
    }
    running::look(config, own.agent(), &mut sheet).await;
    target::look(config, &mut sheet).await;
    Report::new(sheet.checks)
}

/// The report on settings with which nothing else can be looked at.
pub fn wrong_settings(error: &ConfigError) -> Report {
    Report::new(vec![verdict::wrong_settings(error)])
}

/// Where checks are noted, and how much time is left for more.
struct Sheet<T> {
    checks: Vec<Check>,
    tell: T,
    until: Instant,
}

impl<T: FnMut(&Check)> Sheet<T> {
    fn note(&mut self, check: Check) {
        (self.tell)(&check);
        self.checks.push(check);
    }

    /// Waits for one step, no longer than `most` and than there is time.
    async fn step<R>(&self, most: Duration, step: impl Future<Output = R>) -> Result<Timed<R>, Late> {
        let begun = Instant::now();
        let left = self.until.saturating_duration_since(begun);
        if left.is_zero() {
            return Err(Late::NoTime);
        }
        let most = most.min(left);
        match timeout(most, step).await {
            Ok(came) => Ok(Timed { came, took: begun.elapsed() }),
            Err(_) if left <= most => Err(Late::NoTime),
            Err(_) => Err(Late::Silent { after: most }),
        }
    }
}

/// What a step came to, and after how long.
struct Timed<R> {
    came: R,
    took: Duration,
}

/// Why a step came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// The time for the whole was over before or meanwhile.
    NoTime,
    Silent {
        after: Duration,
    },
}

/// Seconds since the Unix epoch.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
