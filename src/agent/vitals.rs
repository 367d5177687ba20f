//! Reading what this agent has left: processor, memory, open files, disk. What that means is `warren_core::vitals`'s.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use warren_core::{
    state::Verdict,
    vitals::{Vital, Vitals as Judged},
};

#[cfg_attr(windows, path = "vitals/unknown.rs")]
mod machine;

pub(crate) use machine::{disk, resident_bytes};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Processor time is that of so many looks.
const CPU_LOOKS: usize = 6;

/// Looks until it is stopped.
#[derive(Debug)]
pub(crate) struct Vitals {
    data_dir: PathBuf,
    judged: Judged,
    /// Busy and whole processor time of the machine at the latest looks, in milliseconds.
    cpu: VecDeque<(u64, u64)>,
    shown: watch::Sender<Judged>,
}

impl Vitals {
    pub(crate) fn new(data_dir: PathBuf) -> (Self, watch::Receiver<Judged>) {
        let (shown, seen) = watch::channel(Judged::default());
        (Self { data_dir, judged: Judged::default(), cpu: VecDeque::new(), shown }, seen)
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // A file system that does not answer, one on a network say, holds up nothing but this.
            let looked = spawn_blocking(move || {
                self.look();
                self
            });
            let Some(Ok(looked)) = stop.run_until_cancelled(looked).await else { return };
            self = looked;
        }
    }

    /// What cannot be read is told as unknown, and judged as before.
    fn look(&mut self) {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let readings = [
            (Vital::Cpu, self.cpu()),
            (Vital::Memory, machine::memory()),
            (Vital::Files, machine::files()),
            (Vital::Disk, disk(&self.data_dir)),
        ];
        for (vital, reading) in readings {
            let (used, limit) = reading.unwrap_or_default();
            match self.judged.read(vital, used, limit, now_ms) {
                None => {}
                Some(Verdict::Up) => tracing::info!(what = vital.as_str(), used, limit, "enough of it again"),
                Some(verdict) => {
                    let verdict = verdict.as_str();
                    tracing::warn!(what = vital.as_str(), verdict, used, limit, "little of it is left");
                }
            }
        }
        self.shown.send_replace(self.judged);
    }

    fn cpu(&mut self) -> Option<(u64, u64)> {
        let latest = machine::cpu()?;
        self.cpu.push_back(latest);
        if self.cpu.len() > CPU_LOOKS + 1 {
            self.cpu.pop_front();
        }
        let first = self.cpu.front()?;
        Some((latest.0.saturating_sub(first.0), latest.1.saturating_sub(first.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_on_this_machine() {
        let place = tempfile::tempdir().unwrap();
        let (mut vitals, seen) = Vitals::new(place.path().to_owned());
        vitals.look();
        let judged = *seen.borrow();
        for vital in [Vital::Memory, Vital::Files, Vital::Disk] {
            let reading = judged.of(vital);
            assert!(reading.used > 0 && reading.used <= reading.limit, "{vital:?} {reading:?}");
        }
        assert_eq!(judged.cpu.limit, 0, "one look says nothing yet");
    }
}
