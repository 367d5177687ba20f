//! What is measured: groups of rows that one measurement gives together, and what is wanted of Warren.

use std::time::Duration;

use anyhow::Result;

use crate::measure::{self, Bed, Sample};

/// Each way, between the two ends of a tunnel.
pub(crate) const FAR: Duration = Duration::from_millis(25);

/// Rows that are measured together, under the name by which they are asked for.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) setting: Setting,
    pub(crate) rows: &'static [Row],
    pub(crate) measure: fn(&Bed<'_>) -> Result<Sample>,
}

/// What a peer must be like before a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Both ends on this machine.
    Near,
    /// The same, started for this measurement alone.
    Fresh,
    /// [`FAR`] of delay each way between the ends.
    Far,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) wanted: Option<Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// What Warren's median has to be, at least or at most as the row's [`Better`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// So many times the best encrypted peer's.
    OfBest(f64),
    /// So many times the best of these peers'.
    Of(&'static [&'static str], f64),
    /// A value in the row's unit.
    Value(f64),
}

use Better::{Less, More};
use Wanted::{Of, OfBest, Value};

const FRP: &[&str] = &["frp", "frp-nomux"];

pub(crate) const GROUPS: [Group; 10] = [
    Group {
        name: "bulk1",
        setting: Setting::Near,
        rows: &[
            row("bulk 1 up", "MB/s", More, Some(OfBest(1.1))),
            row("bulk 1 down", "MB/s", More, Some(OfBest(1.1))),
            row("CPU, both ends", "s/GB", Less, Some(OfBest(1.0))),
        ],
        measure: measure::bulk_one,
    },
    Group {
        name: "bulk16",
        setting: Setting::Near,
        rows: &[
            row("bulk 16 up", "MB/s", More, Some(OfBest(1.2))),
            row("bulk 16 down", "MB/s", More, Some(OfBest(1.2))),
        ],
        measure: measure::bulk_many,
    },
    Group {
        name: "rr1",
        setting: Setting::Near,
        rows: &[row("rr 1", "/s", More, Some(OfBest(1.0)))],
        measure: measure::round_trips_one,
    },
    Group {
        name: "rr64",
        setting: Setting::Near,
        rows: &[row("rr 64", "/s", More, Some(OfBest(1.2))), row("rr 64 p99", "ms", Less, None)],
        measure: measure::round_trips_many,
    },
    Group {
        name: "opens",
        setting: Setting::Near,
        rows: &[row("opens", "/s", More, Some(Of(FRP, 2.0))), row("opens p99", "ms", Less, None)],
        measure: measure::opens,
    },
    Group {
        name: "busy",
        setting: Setting::Near,
        rows: &[
            row("beside 4 bulk up p99", "ms", Less, Some(OfBest(0.4))),
            row("beside 4 bulk down p99", "ms", Less, Some(OfBest(0.4))),
        ],
        measure: measure::beside_bulk,
    },
    Group {
        name: "paced",
        setting: Setting::Near,
        rows: &[row("beside 100 MB/s p99", "ms", Less, Some(OfBest(1.0)))],
        measure: measure::beside_paced_bulk,
    },
    Group {
        name: "slow",
        setting: Setting::Near,
        rows: &[
            row("100 callers p99", "ms", Less, None),
            row("beside a slow reader p99", "ms", Less, None),
            row("  by the one without", "x", Less, Some(Value(1.2))),
        ],
        measure: measure::beside_slow_reader,
    },
    Group {
        name: "idle",
        setting: Setting::Fresh,
        rows: &[
            row("idle session, both ends", "KiB", Less, Some(OfBest(0.5))),
            row("  server end", "KiB", Less, None),
            row("  client end", "KiB", Less, None),
        ],
        measure: measure::idle,
    },
    Group {
        name: "far",
        setting: Setting::Far,
        rows: &[
            row("far: bulk 1 up", "MB/s", More, Some(Of(&["frp"], 5.0))),
            row("far: bulk 1 down", "MB/s", More, Some(Of(&["frp"], 5.0))),
            row("far: opens", "/s", More, Some(Of(FRP, 1.0))),
            row("far: opens p99", "ms", Less, None),
            row("far: one open", "round trips", Less, Some(Value(1.2))),
        ],
        measure: measure::far,
    },
];

const fn row(name: &'static str, unit: &'static str, better: Better, wanted: Option<Wanted>) -> Row {
    Row { name, unit, better, wanted }
}

impl Row {
    /// The better of the values, with whatever comes with it.
    pub(crate) fn best<T: Copy>(&self, values: impl Iterator<Item = (T, f64)>) -> Option<(T, f64)> {
        match self.better {
            More => values.max_by(|a, b| a.1.total_cmp(&b.1)),
            Less => values.min_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }

    pub(crate) fn wanted_text(&self) -> String {
        let sign = if self.better == More { '≥' } else { '≤' };
        match self.wanted {
            None => String::new(),
            Some(OfBest(factor)) => format!("{sign} {factor} x best"),
            Some(Of(peers, factor)) => format!("{sign} {factor} x {}", peers[0]),
            Some(Value(value)) => format!("{sign} {value}"),
        }
    }

    /// Whether `warren` is as wanted; none where nothing is wanted or what it is compared with is missing.
    pub(crate) fn met(
        &self,
        warren: f64,
        best: Option<f64>,
        of: impl Fn(&[&str]) -> Option<f64>,
    ) -> Option<bool> {
        let bound = match self.wanted? {
            OfBest(factor) => best? * factor,
            Of(peers, factor) => of(peers)? * factor,
            Value(value) => value,
        };
        Some(if self.better == More { warren >= bound } else { warren <= bound })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let mut rows: Vec<_> = GROUPS.iter().flat_map(|group| group.rows).map(|row| row.name).collect();
        let count = rows.len();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }

    #[test]
    fn more_is_wanted_of_some_rows_and_less_of_others() {
        let none = |_: &[&str]| None;
        let speed = row("speed", "MB/s", More, Some(OfBest(1.5)));
        assert_eq!(speed.met(150.0, Some(100.0), none), Some(true));
        assert_eq!(speed.met(149.0, Some(100.0), none), Some(false));
        assert_eq!(speed.met(109.0, None, none), None);
        let time = row("time", "ms", Less, Some(Of(FRP, 0.5)));
        assert_eq!(time.met(2.0, None, |_| Some(4.0)), Some(true));
        assert_eq!(time.met(2.1, None, |_| Some(4.0)), Some(false));
        assert_eq!(time.met(2.1, Some(9.0), none), None);
        assert_eq!(speed.best([("a", 1.0), ("b", 2.0)].into_iter()), Some(("b", 2.0)));
        assert_eq!(time.best([("a", 1.0), ("b", 2.0)].into_iter()), Some(("a", 1.0)));
    }
}
