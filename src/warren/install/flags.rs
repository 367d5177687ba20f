//! Flags of `warren agent install` and `uninstall`. Texts, as those of the agent: what they mean is checked by the agent's own
//! reader before anything is written.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use warren_core::{fields::parse_duration, id::Name};

use crate::serve::SiteArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceVerb {
    /// Make an agent a service of this machine, start it, and wait until it serves
    ///
    /// Writes settings, a copy of the root, the token and a hardened unit, makes the user warren, starts the service and waits until it
    /// serves; then the token is removed, since it is needed only once. Run it again
    /// to upgrade or repair: identity, settings and what was changed by hand stay, and it says what it changed. Settings that differ
    /// from those that are there need --force. Run by an older program it rolls back.
    Install(Box<InstallArgs>),
    /// Stop the service and take it away; identity and settings stay
    ///
    /// Drains the agent, stops it, and removes its unit. Identity, group's log and settings stay for another install, and the agent
    /// stays a member of its group, which shows it without response. With --leave it leaves its group first; with --purge nothing of
    /// it stays here.
    Uninstall(UninstallArgs),
}

/// What is installed, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  warren agent install --gateway https://gateway.example.com --ca ca.pem --token @site-1.jwt
  warren agent install --gateway https://gateway.example.com --token @/dev/stdin < site-1.jwt
  warren agent install --gateway https://gateway.example.com --token @site-1.jwt --dry-run
  warren agent install

Exit codes: 0 it serves, 1 a step failed, 2 wrong settings, 3 refused (not root, another installation, the token), 4 it runs and does
not serve yet, or this machine has no systemd.")]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(super) site: SiteArgs,
    /// YAML file with further settings, such as a veto; flags win over it
    #[arg(long, env = "WARREN_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Install, and do not start it
    #[arg(long)]
    pub(super) no_start: bool,
    /// How long to wait until it serves [default: 60s]
    #[arg(long, value_name = "TIME", default_value = "60s", hide_default_value = true, value_parser = time)]
    pub(super) wait: Duration,
    /// Also over another installation: settings that are given win, the others stay
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) which: WhichService,
    /// With --dry-run: show what this kind of service would be given; only systemd's is installed [default: systemd]
    #[arg(long = "for", value_name = "KIND", value_enum, requires = "dry_run")]
    pub(super) manager: Option<Manager>,
}

/// What is taken away.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  warren agent uninstall
  warren agent uninstall --leave --purge

Exit codes: 0 done, 1 a step failed, 3 refused (not root, or the group did not let it go).")]
pub(crate) struct UninstallArgs {
    /// Have the agent leave its group for good as it stops; if the group cannot let it go, it goes on running
    #[arg(long)]
    pub(super) leave: bool,
    /// Remove identity, the group's log, settings, user and program as well
    #[arg(long)]
    pub(super) purge: bool,
    #[command(flatten)]
    pub(super) which: WhichService,
}

/// Which of this machine's agents.
#[derive(Debug, Args)]
pub(crate) struct WhichService {
    /// One of several agents on this machine, such as one for each group; it needs a --peer-listen of its own
    #[arg(long, value_name = "NAME", value_parser = instance)]
    pub(super) instance: Option<Name>,
    /// Show all that would be written and run, and stop; needs root only where an agent is installed
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Folder that stands for the machine's root, for tests
    #[arg(long, hide = true, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manager {
    #[default]
    Systemd,
    /// Of macOS
    Launchd,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected such as 30s or 5m".to_owned())
}

/// Part of a unit's name, in which a dot would begin its kind.
fn instance(text: &str) -> Result<Name, String> {
    const LENGTH_MAX: usize = 32;
    if text.contains('.') || text.len() > LENGTH_MAX {
        return Err(format!("expected at most {LENGTH_MAX} bytes and no dot"));
    }
    text.parse::<Name>().map_err(|error| error.to_string())
}
