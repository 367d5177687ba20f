use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::{Place, tools};

/// The time of day as processes in its [`place`](Self::place) see it, which can be set while they run. Time that only
/// passes is not touched, as on a machine whose clock is set. Needs libfaketime.
#[derive(Debug)]
pub struct Clock {
    dir: TempDir,
}

impl Clock {
    #[expect(clippy::new_without_default, reason = "it makes a file")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("warren-clock-").tempdir().expect("a temporary directory");
        let clock = Self { dir };
        clock.set(0);
        clock
    }

    /// From now on it is off by so many seconds.
    pub fn set(&self, seconds: i64) {
        let fresh = self.dir.path().join("fresh");
        fs::write(&fresh, format!("{seconds:+}\n")).expect("a file of our own");
        fs::rename(fresh, self.file()).expect("a file of our own");
    }

    /// To run a process that has this clock.
    pub fn place(&self) -> Place {
        let library = tools::fake_time().expect("libfaketime is installed");
        Place::default()
            .with("LD_PRELOAD", library.display().to_string())
            .with("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string())
            .with("FAKETIME_NO_CACHE", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }
}
