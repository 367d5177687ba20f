//! Processes of Windows.

use std::path::PathBuf;

use anyhow::Context;
use tokio::process::{Child, Command};

const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

pub(super) fn own_group(command: &mut Command) {
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
}

/// There is no signal to send; they were told to stop at once when their stdin ends.
pub(super) fn ask_to_end(child: &mut Child) {
    drop(child.stdin.take());
}

pub(super) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the program itself")
}
