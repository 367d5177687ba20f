//! The catalogue of faults: what is done to a group, what must become of it, and what was seen.
//!
//! Each row says how its fault is made and what is promised. Most are made here and give figures: one run of a short row is
//! a scenario of the test suite, many runs of any are `prove faults`, which keeps the worst value. The others name the tests
//! that show them, or say why they cannot be made. The table in the README is written from this catalogue and from the
//! figures in `faults/seen.json`; a test compares them.

use std::time::Duration;

use crate::{load::Random, tools::Need};

mod catalogue;
mod clocks;
mod disks;
mod edits;
mod group;
mod identities;
mod members;
mod partitions;
mod reach;
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
    /// Not, and why.
    Not(&'static str),
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
        assert!(took <= at_most, "{what}: {took:.2?}, promised is {promised:?}");
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let promised = Some(millis(promised));
        self.values.push(Value { what, value: millis(took), unit: Unit::Millis, promised });
    }

    /// How long something took that nobody promised anything of.
    pub fn told(&mut self, what: &'static str, took: Duration) {
        let value = took.as_secs_f64() * 1e3;
        self.values.push(Value { what, value, unit: Unit::Millis, promised: None });
    }

    /// How often something happened that may happen so often at most, on any machine.
    pub fn count(&mut self, what: &'static str, count: usize, promised: usize) {
        assert!(count <= promised, "{what}: {count}, promised is at most {promised}");
        let promised = Some(promised as f64);
        self.values.push(Value { what, value: count as f64, unit: Unit::Count, promised });
    }

    /// How often something happened of which nothing is promised.
    pub fn counted(&mut self, what: &'static str, count: usize) {
        self.values.push(Value { what, value: count as f64, unit: Unit::Count, promised: None });
    }

    /// A share of a hundred, which on no machine may pass `at_most`.
    pub fn percent(&mut self, what: &'static str, share: f64, promised: f64, at_most: f64) {
        assert!(share <= at_most, "{what}: {share:.1} %, promised is at most {promised} %");
        self.values.push(Value { what, value: share, unit: Unit::Percent, promised: Some(promised) });
    }

    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// The row of that number.
pub fn row(number: u8) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

/// Runs a row that is made here, and panics when something came out as it must on no machine.
pub fn run(number: u8, seed: u64, stretch: u32) -> Seen {
    let Some(Row { shown: Shown::Here(trial, _), .. }) = row(number) else {
        panic!("row {number} is not made here");
    };
    let mut seen = Seen::new(seed, stretch);
    if crate::tools::are_here(trial.needs) {
        (trial.run)(&mut seen);
    }
    seen
}
