//! The random mix: `prove chaos --seed 7 --duration 1h --rate 12`.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use warren_cluster_tests::{
    chaos::{self, Options},
    load::seed,
};

#[derive(Debug, Parser)]
#[command(name = "prove chaos", about = "A random mix of faults under load, then healing")]
struct Args {
    /// The same seed draws the same faults [default: SEED of the environment, or the time]
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults are begun, such as 90s, 10m, 1h
    #[arg(long, default_value = "10m", value_parser = duration)]
    duration: Duration,
    /// Faults a minute
    #[arg(long, default_value_t = 12.0)]
    rate: f64,
    /// No fault lasts longer
    #[arg(long, default_value = "12s", value_parser = duration)]
    hold: Duration,
}

pub(crate) fn prove(args: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(["prove chaos".to_owned()].into_iter().chain(args));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or_else(|| seed(now.as_secs()));
    let options = Options { per_minute: args.rate, hold_max: args.hold, ..Options::new(seed, args.duration) };
    let report = chaos::run(&options, |line| println!("{line}"));
    println!("{report}");
    println!("{}", report.to_json());
    // A panic keeps the logs.
    assert!(report.violations().is_empty(), "seed {seed}: logs in {}", report.home().display());
    ExitCode::SUCCESS
}

fn duration(text: &str) -> Result<Duration, String> {
    let told = || format!("`{text}` is no time such as 90s, 10m or 1h");
    let unit = text.chars().last().ok_or_else(told)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(told()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| told())?;
    Ok(Duration::from_secs(number * seconds))
}
