//! Where what belongs to one agent stands on Windows. No variable says it, so that none can lead a service elsewhere.

use std::path::{Path, PathBuf};

use warren_core::id::Name;

/// Settings, log, and below it the data folder.
pub(super) const STATE: &str = r"C:\ProgramData\Warren";
/// Where the program is copied to: a service should not run what a user can replace.
pub(super) const PROGRAM: &str = r"C:\Program Files\Warren\warren.exe";

/// When settings that were edited count.
pub(super) const COUNTS: &str = "it counts from the next start of the service";

/// The agent of a machine, or one of several.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) instance: Option<Name>,
}

impl Place {
    /// `agent` or `agent-NAME`.
    fn label(&self) -> String {
        self.instance.as_ref().map_or_else(|| "agent".to_owned(), |name| format!("agent-{name}"))
    }

    pub(super) fn service(&self) -> String {
        format!("warren-{}", self.label())
    }

    /// A virtual account, which Windows makes with the service and which has no password.
    pub(super) fn account(&self) -> String {
        format!(r"NT SERVICE\{}", self.service())
    }

    pub(super) fn config(&self) -> PathBuf {
        self.setting("yaml")
    }

    pub(super) fn token(&self) -> PathBuf {
        self.setting("token")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.setting("ca.pem")
    }

    pub(super) fn ready_file(&self) -> PathBuf {
        self.setting("ready.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.setting("log")
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        Path::new(STATE).join(self.label())
    }

    /// All but the data folder.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        [self.config(), self.token(), self.ca(), self.log(), self.setting("log.former")].into_iter()
    }

    fn setting(&self, kind: &str) -> PathBuf {
        Path::new(STATE).join(format!("{}.{kind}", self.label()))
    }
}
