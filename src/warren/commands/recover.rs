//! `warren recover`

use std::path::PathBuf;

use clap::Args;
use warren_agent::{RecoverError, Remains, config::DATA_DIR_DEFAULT};

use crate::{
    exit::{Exit, Failure},
    output::{Format, confirmed, talk},
    views::Recovered,
};

/// Works on the data folder of an agent that is stopped, without a gateway.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The agent's data folder
    #[arg(long, value_name = "DIR", env = "WARREN_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    data_dir: PathBuf,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Show what would be done, and what this member knows, and stop
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Also when a majority answers, when this member has no vote, or when its group was recovered without it
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: RecoverArgs, format: Format) -> anyhow::Result<()> {
    let data_dir = args.data_dir.clone();
    let remains = tokio::task::spawn_blocking(move || Remains::open(&data_dir)).await??;
    let answering = remains.answering().await?;
    let mut view = Recovered::new(&remains, &answering);
    let recovery = remains.recovery();
    if recovery.alone {
        let told = format_args!(
            "nothing to do: this member is the only voter of its group, in epoch {}",
            recovery.epoch
        );
        return format.done(&view, told);
    }
    if args.dry_run {
        return format.show(&view);
    }
    if let Some(reason) = against(&remains, answering.len()).filter(|_| !args.force) {
        return Err(Failure::new(Exit::Refused, reason).into());
    }
    for line in view.warning() {
        talk(line);
    }
    if !args.yes && !confirmed("make this member the whole group? type yes", false)? {
        return Err(Failure::usage("nothing was changed; --yes does it without asking").into());
    }
    tokio::task::spawn_blocking(move || remains.recover()).await??;
    view.recovered = true;
    format.done(
        &view,
        format_args!("done: this member is the whole group, in epoch {}; start its agent", view.next_epoch),
    )
}

/// What stands against a recovery.
fn against(remains: &Remains, answering: usize) -> Option<String> {
    let recovery = remains.recovery();
    if let Some(epoch) = recovery.superseded {
        return Some(format!(
            "this member's group was recovered without it, in epoch {epoch}: move its data folder away and enrol it again"
        ));
    }
    if !recovery.voter {
        return Some(
            "this member has no vote, it may have less than others: recover a voter if one is left"
                .to_owned(),
        );
    }
    (answering + 1 >= recovery.majority()).then(|| {
        format!(
            "the majority is not gone: {answering} other voters answer, which with this one is enough for {} needed; start this agent again",
            recovery.majority()
        )
    })
}

/// The exit code of what went wrong before anything was changed.
pub(crate) fn exit_of(error: &RecoverError) -> Exit {
    match error {
        RecoverError::NotEnrolled { .. } => Exit::Usage,
        error if error.is_refusal() => Exit::Refused,
        _ => Exit::Failed,
    }
}
