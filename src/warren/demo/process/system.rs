//! Processes of Unix.

use std::path::PathBuf;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

pub(super) fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// SIGTERM.
pub(super) fn ask_to_end(child: &mut Child) {
    let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return };
    // It may have ended by itself just before, which is what was wanted.
    let _ = kill_process(id, Signal::TERM);
}

/// This very program. Where it was replaced on disk while it runs, Linux still has it under the second path.
pub(super) fn own_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    Ok(if program.exists() { program } else { PathBuf::from("/proc/self/exe") })
}
