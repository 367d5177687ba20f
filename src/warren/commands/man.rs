//! `warren man`

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::cli::Cli;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  warren man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Made if it is missing
    folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write manual pages into `{}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        run(&ManArgs { folder: folder.path().to_owned() }).unwrap();
        for (page, word) in
            [("warren.1", "behind a firewall"), ("warren-agent-install.1", "registration token")]
        {
            let text = fs::read_to_string(folder.path().join(page)).unwrap().to_lowercase();
            assert!(text.contains(word), "{page}: {text}");
        }
    }
}
