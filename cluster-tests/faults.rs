//! The catalogue of faults: what is done to a group, what must become of it, and what was seen.
//!
//! Each row says how its fault is made and what is promised. Most are made here and give figures: one run of a short row is
//! a scenario of the test suite, many runs of any are `prove faults`, which keeps the worst value. The others name the tests
//! that show them. The table in the README is written from this catalogue and from the figures in `faults/seen.json`; a test
//! compares them.

use std::{
    any::Any,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use crate::{
    load::Random,
    tools::{self, Need},
};

mod catalogue;
mod clocks;
mod disks;
mod edits;
mod group;
mod identities;
mod members;
mod partitions;
mod reach;
mod sites;
mod table;
mod targets;
mod tunnels;

pub use catalogue::ROWS;
pub use table::{Figures, table};

/// One fault.
#[derive(Debug)]
pub struct Row {
    pub number: u8,
    pub fault: &'static str,
    /// How it is made.
    pub made: &'static str,
    /// What must become of it.
    pub promised: &'static str,
    pub shown: Shown,
}

/// Where a row is shown.
#[derive(Debug)]
pub enum Shown {
    /// By figures of a run here, and perhaps by tests elsewhere too.
    Here(Trial, &'static str),
    /// By these tests.
    By(&'static str),
}

/// How a row is run once.
#[derive(Debug)]
pub struct Trial {
    pub needs: &'static [Need],
    /// Whether one run is a scenario of the test suite.
    pub in_suite: bool,
    pub run: fn(&mut Seen),
}

/// What one run has shown, and where its chance comes from.
#[derive(Debug)]
pub struct Seen {
    values: Vec<Value>,
    random: Random,
    stretch: u32,
}

/// One figure; the smaller, the better.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub what: &'static str,
    pub value: f64,
    pub unit: Unit,
    /// What it must not pass; none when it is told for its own sake.
    pub promised: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Count,
    Percent,
}

impl Seen {
    /// What lasts on purpose lasts `stretch` times as long as it needs to.
    pub fn new(seed: u64, stretch: u32) -> Self {
        Self { values: Vec::new(), random: Random::new(seed), stretch }
    }

    /// How long something that could last for ever is to last.
    pub fn stretched(&self, time: Duration) -> Duration {
        time * self.stretch
    }

    /// A number below `end`, by the seed.
    pub fn draw(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// How long something took, of what is `promised`. On no machine, however busy, may it pass `at_most`.
    pub fn time(&mut self, what: &'static str, took: Duration, promised: Duration, at_most: Duration) {
        self.note(what, Unit::Millis, millis(took), Some(millis(promised)));
        assert!(took <= at_most, "{what}: {took:.2?}, promised is {promised:?}");
    }

    /// How long something took that nobody promised anything of.
    pub fn told(&mut self, what: &'static str, took: Duration) {
        self.note(what, Unit::Millis, millis(took), None);
    }

    /// How often something happened that may happen so often at most, on any machine.
    pub fn count(&mut self, what: &'static str, count: usize, promised: usize) {
        self.note(what, Unit::Count, count as f64, Some(promised as f64));
        assert!(count <= promised, "{what}: {count}, promised is at most {promised}");
    }

    /// Cases of what must never happen, each of which is told.
    pub fn none(&mut self, what: &'static str, cases: &[impl Debug]) {
        self.note(what, Unit::Count, cases.len() as f64, Some(0.0));
        assert!(cases.is_empty(), "{what}: {cases:#?}");
    }

    /// How often something happened of which nothing is promised.
    pub fn counted(&mut self, what: &'static str, count: usize) {
        self.note(what, Unit::Count, count as f64, None);
    }

    /// A share of a hundred, which on no machine may pass `at_most`.
    pub fn percent(&mut self, what: &'static str, share: f64, promised: f64, at_most: f64) {
        self.note(what, Unit::Percent, share, Some(promised));
        assert!(share <= at_most, "{what}: {share:.1} %, promised is at most {promised} %");
    }

    /// Before it is judged, so that a run that fails tells by how much.
    fn note(&mut self, what: &'static str, unit: Unit, value: f64, promised: Option<f64>) {
        self.values.push(Value { what, value, unit, promised });
    }

    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// The row of that number.
pub fn row(number: u8) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

/// One run of a row.
#[derive(Debug)]
pub struct Run {
    pub seed: u64,
    /// Of a run that failed, what it had seen until then.
    pub seen: Seen,
    pub end: End,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    Fine,
    /// Something came out as it must on no machine. The panic has told what.
    Failed(Box<dyn Any + Send>),
    /// It was not begun, for want of this.
    Skipped(String),
}

/// Runs a row that is made here.
pub fn run(number: u8, seed: u64, stretch: u32) -> Run {
    let Some(Row { shown: Shown::Here(trial, _), .. }) = row(number) else {
        panic!("row {number} is not made here");
    };
    trial.run(seed, stretch)
}

impl Trial {
    fn run(&self, seed: u64, stretch: u32) -> Run {
        let mut seen = Seen::new(seed, stretch);
        let end = match tools::missing(self.needs) {
            Some(missing) => End::Skipped(missing),
            None => match catch_unwind(AssertUnwindSafe(|| (self.run)(&mut seen))) {
                Ok(()) => End::Fine,
                Err(panic) => End::Failed(panic),
            },
        };
        Run { seed, seen, end }
    }
}

impl Run {
    /// As a scenario of the test suite: panics when it failed, and, with `WARREN_TEST_ALL`, when it was skipped.
    pub fn judge(self) {
        match self.end {
            End::Fine => {}
            End::Failed(panic) => resume_unwind(panic),
            End::Skipped(missing) => tools::skip(&missing),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Trial = Trial {
        needs: &[],
        in_suite: false,
        run: |seen| {
            seen.told("before", Duration::from_millis(5));
            seen.count("lost", 3, 0);
            seen.told("never", Duration::ZERO);
        },
    };

    #[test]
    fn a_run_that_fails_tells_what_it_has_seen() {
        let run = TIMES.run(1, 1);
        assert!(matches!(run.end, End::Failed(_)), "{run:?}");
        let seen: Vec<_> = run.seen.values().iter().map(|value| (value.what, value.value)).collect();
        assert_eq!(seen, [("before", 5.0), ("lost", 3.0)]);
    }

    #[test]
    fn a_run_without_its_tools_is_skipped() {
        let run = Trial { needs: &[Need::Program("no-such-program")], ..TIMES }.run(1, 1);
        let End::Skipped(missing) = &run.end else { panic!("{run:?}") };
        assert!(missing.contains("no-such-program") && run.seen.values().is_empty());
    }
}
