//! `warren doctor`

use std::{path::PathBuf, time::Duration};

use clap::Args;
use warren_agent::{
    AgentConfig,
    examine::{Check, Outcome, Report, Status, examine, wrong_settings},
};
use warren_core::fields::parse_duration;

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Page, View},
    serve::{SiteArgs, overrides_beside},
};

/// Looks, and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  warren doctor --config /etc/warren/agent.yaml
  warren doctor --data-dir /var/lib/warren/agent --gateway https://gateway.example.com --ca ca.pem --token @site-1.jwt

Exit codes: 0 nothing failed (there may be warnings), 1 a check failed, 2 the settings are wrong, 4 a gateway cannot be reached.")]
pub(crate) struct DoctorArgs {
    /// The agent's YAML file
    #[arg(long, env = "WARREN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArgs,
    /// How long all of it may take [default: 30s]
    #[arg(long, value_name = "TIME", default_value = "30s", hide_default_value = true, value_parser = time)]
    timeout: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "expected such as 30s or 5m".to_owned())
}

pub(crate) async fn run(args: DoctorArgs, format: Format) -> anyhow::Result<()> {
    let mut unread = None;
    // When nobody reads stdout any more, the exit code still tells what was found.
    let mut tell = |check: &Check| {
        if format == Format::Table && unread.is_none() {
            unread = output::print(&lines(check)).err();
        }
    };
    let report = match AgentConfig::load(args.config.as_deref(), overrides_beside(&args.site)) {
        Ok(config) => Box::pin(examine(&config, args.timeout, &mut tell)).await,
        Err(error) => {
            let report = wrong_settings(&error);
            report.checks.iter().for_each(&mut tell);
            report
        }
    };
    if format != Format::Table {
        unread = format.show(&report).err();
    }
    verdict(&report)?;
    unread.map_or(Ok(()), Err)
}

/// What the process ends with.
fn verdict(report: &Report) -> anyhow::Result<()> {
    let exit = match report.outcome() {
        Outcome::Fine => return Ok(()),
        Outcome::Failed => Exit::Failed,
        Outcome::WrongSettings => Exit::Usage,
        Outcome::GatewayAway => Exit::Unreachable,
    };
    let named: Vec<_> = report.failed().map(title).collect();
    Err(Failure::new(exit, format!("failed: {}", named.join(", "))).into())
}

impl View for Report {
    fn page(&self, page: &mut Page) {
        page.lines(self.checks.iter().map(|check| lines(check).trim_end().to_owned()));
    }
}

/// One line, and what to do below it.
fn lines(check: &Check) -> String {
    const INDENT: &str = "         ";
    let took = check.ms.map(|time| format!(" ({:.1} ms)", time.as_secs_f64() * 1_000.0)).unwrap_or_default();
    let seen = check.seen.replace('\n', &format!("\n{INDENT}"));
    let mut lines = format!("{:7}  {}: {seen}{took}\n", check.status.as_str(), title(check));
    if let Some(advice) = check.advice.as_ref().filter(|_| check.status != Status::Ok) {
        lines.push_str(&format!("{INDENT}-> {advice}\n"));
    }
    lines
}

fn title(check: &Check) -> String {
    match &check.of {
        Some(whose) => format!("{} of {whose}", check.name),
        None => check.name.to_string(),
    }
}
