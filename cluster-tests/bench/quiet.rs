//! What other programs take of the machine's CPUs: figures of a busy machine say little, and must say that they do.

use std::{
    fs, process,
    time::{Duration, Instant},
};

use warren_cluster_tests::hold;

use crate::usage;

/// CPUs in use by others with which a measurement still counts as undisturbed.
pub(crate) const QUIET: f64 = 0.1;
/// Over which quiet is judged before a measurement.
const LOOK: Duration = Duration::from_millis(400);

/// CPU time of everybody else since it was made.
#[derive(Debug)]
pub(crate) struct Others {
    since: Instant,
    before: f64,
}

impl Others {
    pub(crate) fn watch() -> Self {
        Self { since: Instant::now(), before: others_seconds() }
    }

    /// CPUs that they had on average.
    pub(crate) fn cpus(&self) -> f64 {
        ((others_seconds() - self.before) / self.since.elapsed().as_secs_f64()).max(0.0)
    }
}

/// Waits until others leave the machine alone, at most until `deadline`.
pub(crate) fn wait(deadline: Instant) {
    while Instant::now() < deadline {
        let others = Others::watch();
        hold("the machine is looked at", LOOK, || true);
        if others.cpus() <= QUIET {
            return;
        }
    }
}

/// All CPU time of the machine since its start, without that of the bench and its descendants.
fn others_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = busy_ticks(stat.lines().next().unwrap_or_default()) as f64 / usage::TICKS_PER_SECOND;
    all - usage::of(&[process::id()]).cpu_seconds
}

/// user, nice, system, irq, softirq and steal of the line; what is idle, and guests, which are in user, left out.
fn busy_ticks(line: &str) -> u64 {
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy_ticks("cpu  1 20 300 99999 88888 4000 50000 600000 7 7"), 654_321);
    }
}
