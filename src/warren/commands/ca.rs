//! `warren ca`

use std::{fs, path::PathBuf};

use clap::Args;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Runs where the gateway runs; in an image without a shell it is the way to this file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  warren ca > ca.pem")]
pub(crate) struct CaArgs {
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", env = "WARREN_DATA_DIR", default_value = "/var/lib/warren/gateway")]
    data_dir: PathBuf,
}

pub(crate) fn run(args: &CaArgs) -> anyhow::Result<()> {
    let path = args.data_dir.join("ca.pem");
    let missing = || format!("cannot read `{}`, which a gateway writes at each start", path.display());
    let pem =
        fs::read_to_string(&path).map_err(|error| Failure::new(Exit::Failed, missing()).because(error))?;
    output::print(&pem)
}
