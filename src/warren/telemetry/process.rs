//! What the process uses, and what its disk has left, as the system tells it.

use std::path::Path;

#[cfg_attr(windows, path = "process/unknown.rs")]
mod system;

/// A moment's account. A value that cannot be read is absent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) started_s: Option<f64>,
}

impl Usage {
    pub(crate) fn now() -> Self {
        system::usage()
    }
}

/// The file system that a folder is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    /// What is left for whoever is not root.
    pub(crate) available_bytes: u64,
    pub(crate) size_bytes: u64,
}

impl Space {
    /// `None` while the folder is not there, and where the system is not asked. A file system that hangs holds its caller up,
    /// as it does everything else of a process whose data is on it.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        system::space(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let usage = Usage::now();
        assert!(usage.resident_bytes.unwrap() > 1_000_000);
        assert!(usage.open_fds.unwrap() >= 3);
        assert!(usage.started_s.unwrap() > 1.6e9);
        assert!(usage.cpu_seconds.is_some());
    }

    #[test]
    fn a_folder_tells_the_space_that_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path()).unwrap();
        assert!(space.available_bytes > 0 && space.available_bytes <= space.size_bytes, "{space:?}");
        assert!(Space::of(&folder.path().join("missing")).is_none());
    }
}
