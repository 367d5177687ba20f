//! Memory of the machine, or of the container if that has less.
//!
//! Pages of files that were read and not needed since are free in all but name: both count them as such, or a member that
//! writes much to its disk would look as if it were about to die.

use std::{fs, path::Path};

/// Where the files of a control group lie.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Names of the files with a limit and with what is used, and of the line with those pages in `stat`.
struct Layout {
    limit: &'static str,
    used: &'static str,
    stat: &'static str,
    idle: &'static str,
}

/// Version 2 and version 1.
const LAYOUTS: [Layout; 2] = [
    Layout { limit: "memory.max", used: "memory.current", stat: "memory.stat", idle: "inactive_file" },
    Layout {
        limit: "memory/memory.limit_in_bytes",
        used: "memory/memory.usage_in_bytes",
        stat: "memory/memory.stat",
        idle: "total_inactive_file",
    },
];

/// Bytes used, and how many there are.
pub(in crate::vitals) fn read() -> Option<(u64, u64)> {
    let machine = machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let container = container(Path::new(CGROUPS)).filter(|(_, limit)| *limit < machine.1);
    Some(container.unwrap_or(machine))
}

fn machine(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok().map(|kib| kib << 10)
    };
    let (whole, available) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
    Some((whole.saturating_sub(available), whole))
}

/// `None` where there is no limit.
fn container(root: &Path) -> Option<(u64, u64)> {
    let text = |name: &str| fs::read_to_string(root.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    LAYOUTS.iter().find_map(|layout| {
        let (used, limit) = (number(layout.used)?, number(layout.limit)?);
        Some((used.saturating_sub(idle(&text(layout.stat)?, layout.idle)), limit))
    })
}

fn idle(stat: &str, name: &str) -> u64 {
    let pairs = stat.lines().filter_map(|line| line.split_once(' '));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, bytes)| bytes.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control group with these files is read so.
    fn check(files: &[(&str, &str)], expected: Option<(u64, u64)>) {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(container(place.path()), expected, "{files:?}");
    }

    #[test]
    fn memory_is_what_cannot_be_had() {
        let text = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(machine(text), Some((600 << 10, 1_000 << 10)));
        assert_eq!(machine("MemTotal: 5 kB"), None);
    }

    #[test]
    fn a_container_has_its_own_limit_and_pages_of_files_are_free() {
        let used = ("memory.current", "900\n");
        let stat = ("memory.stat", "anon 200\nfile 700\ninactive_file 650\nactive_file 50\n");
        check(&[], None);
        check(&[("memory.max", "max\n"), used, stat], None);
        check(&[("memory.max", "1000\n"), used, stat], Some((250, 1_000)));
        let first = [
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "900\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
        ];
        check(&first, Some((400, 1_000)));
    }
}
