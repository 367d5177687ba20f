//! Reading what this agent has left: processor, memory, open files, disk. What that means is `warren_core::vitals`'s.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
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

mod memory;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Processor time is that of so many looks.
const CPU_LOOKS: usize = 6;

/// Looks until it is stopped.
#[derive(Debug)]
pub(crate) struct Vitals {
    data_dir: PathBuf,
    judged: Judged,
    /// Busy and whole processor time of the machine at the latest looks, in ticks.
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
            (Vital::Memory, memory::read()),
            (Vital::Files, files()),
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
        let latest = cpu_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
        self.cpu.push_back(latest);
        if self.cpu.len() > CPU_LOOKS + 1 {
            self.cpu.pop_front();
        }
        let first = self.cpu.front()?;
        let ms = 1_000 / rustix::param::clock_ticks_per_second().max(1);
        Some((latest.0.saturating_sub(first.0) * ms, latest.1.saturating_sub(first.1) * ms))
    }
}

/// Busy and whole time: all fields of the first line of /proc/stat (see proc(5)), idle and waiting for disks not busy.
/// Guests' time is part of user's and not counted twice.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        stat.lines().next()?.split_ascii_whitespace().skip(1).flat_map(str::parse).collect();
    let whole: u64 = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some((whole.saturating_sub(idle), whole))
}

fn files() -> Option<(u64, u64)> {
    let limit = getrlimit(Resource::Nofile).current?;
    let open = match fs::read_dir("/proc/self/fd") {
        // The listing itself holds one open.
        Ok(open) => u64::try_from(open.count()).ok()?.saturating_sub(1),
        // Not even one more for the listing.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => limit,
        Err(_) => return None,
    };
    Some((open, limit))
}

/// What others than root may not use counts as used.
fn disk(data_dir: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(data_dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let free = bytes(stat.f_bavail);
    let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
    Some((used, used.saturating_add(free)))
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

    #[test]
    fn processor_time_is_all_but_idle() {
        assert_eq!(cpu_ticks("cpu  10 1 5 100 4 0 0 2 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), Some((18, 122)));
        assert_eq!(cpu_ticks("cpu 1"), None);
    }
}
