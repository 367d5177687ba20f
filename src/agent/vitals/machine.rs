//! What Linux tells of the machine and of this process.

use std::{fs, path::Path};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

mod memory;

pub(super) use memory::read as memory;

/// Busy and whole processor time of the machine, milliseconds.
pub(super) fn cpu() -> Option<(u64, u64)> {
    let (busy, whole) = cpu_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    let ms = 1_000 / rustix::param::clock_ticks_per_second().max(1);
    Some((busy * ms, whole * ms))
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

pub(super) fn files() -> Option<(u64, u64)> {
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
pub(crate) fn disk(data_dir: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(data_dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let free = bytes(stat.f_bavail);
    let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
    Some((used, used.saturating_add(free)))
}

/// Memory of this process, 0 where the system does not tell.
pub(crate) fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_all_but_idle() {
        assert_eq!(cpu_ticks("cpu  10 1 5 100 4 0 0 2 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), Some((18, 122)));
        assert_eq!(cpu_ticks("cpu 1"), None);
    }
}
