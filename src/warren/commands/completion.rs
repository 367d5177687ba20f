//! `warren completion`

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, output};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  warren completion bash > /etc/bash_completion.d/warren")]
pub(crate) struct CompletionArgs {
    /// The shell that shall complete
    shell: Shell,
}

pub(crate) fn run(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "warren", &mut script);
    output::print(&String::from_utf8(script).context("the completion script is no text")?)
}
