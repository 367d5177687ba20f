//! Rows of the catalogue of faults, many times each: the worst that was seen.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use clap::Parser;
use warren_cluster_tests::{
    faults::{self, End, Figures, ROWS, Run, Shown},
    tools,
};

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
    if let Some(Err(why)) = args.json.as_deref().map(read) {
        println!("{why}");
        return ExitCode::from(2);
    }
    let mut tally = Tally::default();
    for row in rows {
        let about = faults::row(row).expect("it was chosen");
        println!("== {row}: {}; {}", about.fault, about.made);
        println!("   promised: {}", about.promised);
        let runs = args.run(row);
        let figures = match args.keep(row, &runs) {
            Ok(figures) => figures,
            Err(why) => {
                println!("{why}");
                return ExitCode::FAILURE;
            }
        };
        for line in tally.add(row, &runs, &figures) {
            println!("   {line}");
        }
    }
    println!("{tally}");
    if tally.is_fine(tools::is_all_wanted()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Tally {
    fine: Vec<u8>,
    failed: Vec<u8>,
    missed: Vec<u8>,
    skipped: Vec<u8>,
}

impl Tally {
    /// Notes a row, and tells of it.
    fn add(&mut self, row: u8, runs: &[Run], figures: &Figures) -> Vec<String> {
        // What is missing is missing in all of them.
        if let Some(End::Skipped(missing)) = runs.first().map(|run| &run.end) {
            self.skipped.push(row);
            return vec![format!("SKIPPED: {missing}")];
        }
        let failed: Vec<_> = runs.iter().filter(|run| matches!(run.end, End::Failed(_))).collect();
        let told =
            failed.iter().map(|run| format!("FAILED: the run with seed {}; why stands above", run.seed));
        let count = format!("{} runs, {} of them failed", runs.len(), failed.len());
        let lines = told.chain([count]).chain(figures.lines(row)).collect();
        match (failed.is_empty(), figures.is_missed(row)) {
            (false, _) => self.failed.push(row),
            (true, true) => self.missed.push(row),
            (true, false) => self.fine.push(row),
        }
        lines
    }

    fn is_fine(&self, all_wanted: bool) -> bool {
        self.failed.is_empty() && self.missed.is_empty() && (self.skipped.is_empty() || !all_wanted)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fine, failed, missed, skipped } = self;
        write!(f, "rows as promised: {fine:?}; with failed runs: {failed:?}; missed: {missed:?}; ")?;
        write!(f, "skipped: {skipped:?}")
    }
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

    /// All runs of a row, by their seeds.
    fn run(&self, row: u8) -> Vec<Run> {
        let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let number = next.fetch_add(1, SeqCst);
                if number >= self.rounds {
                    return;
                }
                let run = faults::run(row, self.seed + number, self.stretch);
                done.lock().unwrap_or_else(PoisonError::into_inner).push(run);
            }
        };
        thread::scope(|scope| (0..self.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
        let mut runs = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        runs.sort_by_key(|run| run.seed);
        runs
    }

    /// Puts the row's figures among those of the file, which another run may have written meanwhile.
    fn keep(&self, row: u8, runs: &[Run]) -> Result<Figures, String> {
        let mut figures = self.json.as_deref().map_or_else(|| Ok(Figures::default()), read)?;
        figures.put(row, &today(), build(), runs);
        if let Some(path) = &self.json {
            // Whole or not at all, whenever this is stopped.
            let fresh = path.with_extension("fresh");
            fs::write(&fresh, figures.write())
                .and_then(|()| fs::rename(&fresh, path))
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        Ok(figures)
    }
}

/// The figures of a file; none when it is not there yet.
fn read(path: &Path) -> Result<Figures, String> {
    match fs::read_to_string(path) {
        Ok(text) => Figures::read(&text).map_err(|why| format!("{} holds no figures: {why}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Figures::default()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
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
