//! From /proc.

use std::{fs, path::Path};

use super::{Space, Usage};

pub(super) fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second();
    Usage {
        resident_bytes: resident_pages(&statm).map(|pages| pages * rustix::param::page_size() as u64),
        // The listing itself holds one open.
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64 - 1),
        cpu_seconds: cpu_ticks(&stat).map(|used| used as f64 / ticks as f64),
        started_s: start_ticks(&stat)
            .zip(boot_seconds(&system))
            .map(|(started, boot)| boot as f64 + started as f64 / ticks as f64),
    }
}

pub(super) fn space(folder: &Path) -> Option<Space> {
    let found = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Space { available_bytes: bytes(found.f_bavail), size_bytes: bytes(found.f_blocks) })
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Field `number` of proc(5)'s stat; the second one, the name, may hold blanks and parentheses.
fn field(stat: &str, number: usize) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    Some(field(stat, 14)? + field(stat, 15)?)
}

fn start_ticks(stat: &str) -> Option<u64> {
    field(stat, 22)
}

fn boot_seconds(system: &str) -> Option<u64> {
    system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_hides_no_field() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4 100 0 0 0 25 17 0 0 20 0 3 0 9000 1 2";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(start_ticks(stat), Some(9_000));
        assert_eq!(cpu_ticks("broken"), None);
    }
}
