//! Rows of the catalogue of faults, many times each: the worst that was seen.

use std::{
    fs,
    panic::catch_unwind,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use clap::Parser;
use warren_cluster_tests::faults::{self, Figures, ROWS, Seen, Shown};

/// Runs rows of the catalogue of faults many times, and tells the worst value of each figure.
#[derive(Debug, Parser)]
#[command(name = "prove faults")]
struct Args {
    /// Numbers of rows; all that are made here when none is given
    rows: Vec<u8>,
    /// Runs of each row
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Runs at the same time; more than one disturb each other
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Seed of the first run; the next has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What lasts on purpose, such as the loss of a quorum, lasts so many times longer
    #[arg(long, default_value_t = 1)]
    stretch: u32,
    /// File of figures in which those of these rows are put in the place of what is there
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn prove(args: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(["prove faults".to_owned()].into_iter().chain(args));
    let rows = match args.chosen() {
        Ok(rows) => rows,
        Err(why) => {
            println!("{why}");
            return ExitCode::from(2);
        }
    };
    let known = args.json.as_deref().and_then(|path| fs::read_to_string(path).ok());
    let mut figures = known.map_or_else(Figures::default, |text| Figures::read(&text).expect("our own file"));
    let mut fine = true;
    for row in rows {
        let about = faults::row(row).expect("it was chosen");
        println!("== {row}: {}; {}", about.fault, about.made);
        println!("   promised: {}", about.promised);
        let (seen, failures) = args.run(row);
        for failure in &failures {
            println!("   FAILED: {failure}");
        }
        if seen.iter().any(|seen| !seen.values().is_empty()) {
            figures.put(row, &today(), build(), &seen);
        }
        println!("   {} of {} runs", seen.len(), args.rounds);
        figures.lines(row).iter().for_each(|line| println!("   {line}"));
        fine &= failures.is_empty() && !figures.is_missed(row);
        if let Some(path) = &args.json {
            fs::write(path, figures.write()).expect("the file of figures can be written");
        }
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Args {
    fn chosen(&self) -> Result<Vec<u8>, String> {
        let made: Vec<_> =
            ROWS.iter().filter(|row| matches!(row.shown, Shown::Here(..))).map(|row| row.number).collect();
        if self.rows.is_empty() {
            return Ok(made);
        }
        match self.rows.iter().find(|row| !made.contains(row)) {
            Some(row) => Err(format!("row {row} is not made here; see cluster-tests/README.md")),
            None => Ok(self.rows.clone()),
        }
    }

    /// All runs of a row; what those showed that came to their end, and the seeds of the others.
    fn run(&self, row: u8) -> (Vec<Seen>, Vec<String>) {
        let (next, done) = (AtomicU64::new(0), Mutex::new((Vec::new(), Vec::new())));
        let work = || {
            loop {
                let number = next.fetch_add(1, SeqCst);
                if number >= self.rounds {
                    return;
                }
                let seed = self.seed + number;
                let ran = catch_unwind(|| faults::run(row, seed, self.stretch));
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match ran {
                    Ok(seen) => done.0.push(seen),
                    Err(_) => done.1.push(format!("the run with seed {seed}; why stands above")),
                }
            }
        };
        thread::scope(|scope| (0..self.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the program that made the figures, and of what it ran.
const fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output().expect("date is everywhere");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
