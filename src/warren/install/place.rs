//! Where what belongs to one agent stands on a machine.

use std::path::{Path, PathBuf};

use warren_core::id::Name;

/// The user of the units, in packaging/systemd/warren.sysusers as well.
pub(super) const USER: &str = "warren";
pub(super) const SETTINGS: &str = "/etc/warren";
pub(super) const UNITS: &str = "/etc/systemd/system";
/// Where the units may write without being told.
pub(super) const STATE: &str = "/var/lib/warren";
pub(super) const SYSUSERS: &str = "/etc/sysusers.d/warren.conf";
/// Where packages of the system put units and users, newest habit first.
pub(super) const PACKAGED_UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
pub(super) const PACKAGED_SYSUSERS: &str = "/usr/lib/sysusers.d/warren.conf";
/// Where the program of a package stands, and the unit in packaging/systemd expects it.
pub(super) const PACKAGED_PROGRAM: &str = "/usr/bin/warren";
/// Where a program that was brought by hand is copied to: a service cannot see homes.
pub(super) const PROGRAM: &str = "/usr/local/bin/warren";

/// Where an agent that has left its group for good notes that, in its data folder; its next start forgets who it was.
pub(super) const LEFT: &str = "left";

/// When settings that were edited count.
pub(super) const COUNTS: &str =
    "some keys count at once after `systemctl reload`, the others from the next start";

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

    pub(super) fn unit(&self) -> String {
        format!("warren-{}.service", self.label())
    }

    pub(super) fn unit_file(&self) -> PathBuf {
        Path::new(UNITS).join(self.unit())
    }

    /// What this machine wants otherwise than every other.
    pub(super) fn drop_in(&self) -> PathBuf {
        Path::new(UNITS).join(format!("{}.d", self.unit())).join("data-dir.conf")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.setting("yaml")
    }

    /// The settings before the last change.
    pub(super) fn former_config(&self) -> PathBuf {
        self.setting("yaml.former")
    }

    pub(super) fn token(&self) -> PathBuf {
        self.setting("token")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.setting("ca.pem")
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        Path::new(STATE).join(self.label())
    }

    pub(super) fn ready_file(&self) -> PathBuf {
        self.run_folder().join("ready.json")
    }

    /// Made by each start, and gone when the service stops.
    pub(super) fn run_folder(&self) -> PathBuf {
        Path::new("/run").join(format!("warren-{}", self.label()))
    }

    fn setting(&self, kind: &str) -> PathBuf {
        Path::new(SETTINGS).join(format!("{}.{kind}", self.label()))
    }
}
