//! `warren demo`: a gateway and three agents as real processes on loopback, a killed member, and what callers notice.
//!
//! `site` starts the processes, `targets` are what stands behind the firewall, `load` calls, `ledger` counts, `story`
//! tells it in order, `report` says how it went.

use std::{path::Path, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::time::timeout;

use crate::{
    output::{print, talk},
    signals::Signals,
};

mod caller;
mod display;
mod ledger;
mod load;
mod process;
mod report;
mod site;
mod story;
mod targets;

use display::Display;
use report::Report;
use site::Site;

/// Longer than this the story never takes; a part that hangs must not hang whoever waits for the demo.
const STORY: Duration = Duration::from_secs(120);

/// Show Warren at work on this machine.
///
/// Starts a gateway and three agents as processes of their own on loopback, and two applications that only the agents
/// know. Drives sessions through them, kills the busiest agent with SIGKILL, shows what callers notice, and starts it
/// again. Needs nothing, leaves nothing behind.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON object as the last line of stdout, and all else on stderr
    #[arg(long)]
    json: bool,
    /// End when all is shown, instead of staying up to be tried
    #[arg(long)]
    once: bool,
    /// Sessions to drive before the kill
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(30..=5_000))]
    sessions: u32,
}

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let mut display = Display::new(args.json);
    let folder = tempfile::Builder::new().prefix("warren-demo-").tempdir().context("cannot make a folder")?;
    let outcome = tokio::select! {
        outcome = show(&args, folder.path(), &mut display) => outcome,
        () = signals.drain.cancelled() => {
            display.close();
            anyhow::bail!("interrupted")
        }
    };
    display.close();
    let mut site = match outcome {
        Ok(site) => site,
        Err(error) => {
            talk(format_args!("the processes' logs are kept in {}", folder.keep().display()));
            return Err(error);
        }
    };
    if !args.once {
        display.lines(&site.how_to_try());
        signals.drain.cancelled().await;
    }
    site.stop().await;
    // A file that cannot be removed is the system's to clean up; the show was good all the same.
    drop(folder);
    Ok(())
}

/// The whole show; what runs goes on running.
async fn show(args: &DemoArgs, folder: &Path, display: &mut Display) -> anyhow::Result<Site> {
    let mut site = Site::start(folder, display).await?;
    let told = timeout(STORY, story::tell(&mut site, args.sessions, display)).await;
    let report = told.context("the demo did not come to its end in time")??;
    tell(&report, args.json, display)?;
    Ok(site)
}

fn tell(report: &Report, json: bool, display: &mut Display) -> anyhow::Result<()> {
    display.close();
    display.lines(&report.for_people());
    if json {
        print(&serde_json::to_string(report).context("cannot write the report as JSON")?)?;
    }
    Ok(())
}
