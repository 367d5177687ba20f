//! Medians, the best of each row, and what was wanted: as a table and as JSON.

use std::{collections::BTreeMap, fmt::Write, fs, thread};

use rustix::system::uname;
use serde_json::{Value, json};

use crate::{
    peers::WARREN,
    plan::{Group, Row, Wanted},
    rounds::{Contender, Results, Run},
    stats::median,
};

/// Everything that is told at the end.
pub(crate) struct Report<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) results: &'a Results,
    /// Peers that cannot be had, and why.
    pub(crate) missing: &'a [(&'static str, String)],
}

/// One row, judged.
struct Judged {
    medians: BTreeMap<&'static str, f64>,
    best: Option<(&'static str, f64)>,
    /// Warren's value by the best one's.
    ratio: Option<f64>,
    met: Option<bool>,
}

impl Report<'_> {
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![self.heading()];
        let mut failures = Vec::new();
        for group in self.run.groups {
            for row in group.rows {
                lines.push(self.line(group, row));
            }
            failures.extend(self.run.contenders.iter().filter_map(|contender| {
                let reason = self.results.failures.get(&(group.name, contender.peer.name))?;
                Some(format!("failed: {} of {}: {reason}", group.name, contender.peer.name))
            }));
        }
        let mut text = aligned(&lines);
        text += "\n* best encrypted peer of the row; ratio: Warren's value by that one's\n";
        let (mean, most) = self.others();
        let _ = writeln!(text, "other programs had {mean:.2} CPUs while it was measured, at most {most:.2}");
        for (peer, reason) in self.missing {
            let _ = writeln!(text, "missing: {peer}: {reason}");
        }
        for failure in failures {
            let _ = writeln!(text, "{failure}");
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let missing = self.missing.iter().map(|(name, why)| ((*name).to_owned(), json!({"missing": why})));
        let found = self.run.contenders.iter().map(|contender| {
            let peer = contender.peer;
            let about = json!({
                "version": contender.tool.version,
                "programs": contender.tool.programs,
                "how": peer.how,
                "encrypted": peer.encrypted,
            });
            (peer.name.to_owned(), about)
        });
        let rows =
            self.run.groups.iter().flat_map(|group| group.rows.iter().map(|row| self.row_json(group, row)));
        json!({
            "machine": machine(),
            "rounds": self.run.rounds,
            "scale": self.run.scale.to_json(),
            "others_cpus": {"mean": self.others().0, "most": self.others().1},
            "peers": missing.chain(found).collect::<BTreeMap<_, _>>(),
            "rows": rows.collect::<Vec<_>>(),
            "raw": self.results.raw,
        })
    }

    /// CPUs that other programs had, on average over the measurements and in the worst.
    fn others(&self) -> (f64, f64) {
        let others = &self.results.others;
        let mean = others.iter().sum::<f64>() / others.len().max(1) as f64;
        (mean, others.iter().copied().fold(0.0, f64::max))
    }

    fn row_json(&self, group: &Group, row: &Row) -> Value {
        let judged = self.judge(group, row);
        let peers = self.run.contenders.iter().map(|contender| {
            let name = contender.peer.name;
            let about = json!({
                "median": judged.medians.get(name),
                "rounds": self.results.values.get(&(row.name, name)),
                "failed": self.results.failures.get(&(group.name, name)),
            });
            (name, about)
        });
        json!({
            "row": row.name.trim(),
            "group": group.name,
            "unit": row.unit,
            "peers": peers.collect::<BTreeMap<_, _>>(),
            "best": judged.best.map(|(name, _)| name),
            "ratio": judged.ratio,
            "wanted": row.wanted_text(),
            "met": judged.met,
        })
    }

    fn judge(&self, group: &Group, row: &Row) -> Judged {
        let median = |contender: &Contender| {
            let name = contender.peer.name;
            // One bad round is enough: a figure of the good ones would hide it.
            let failed = self.results.failures.contains_key(&(group.name, name));
            let values = self.results.values.get(&(row.name, name)).filter(|_| !failed)?;
            Some((name, median(values)?))
        };
        let medians: BTreeMap<_, _> = self.run.contenders.iter().filter_map(median).collect();
        let others = self.run.contenders.iter().map(|contender| contender.peer);
        let others = others.filter(|peer| peer.encrypted && peer.name != WARREN);
        let best = row.best(others.filter_map(|peer| Some((peer.name, *medians.get(peer.name)?))));
        let warren = medians.get(WARREN).copied();
        let of = |names: &[&str]| {
            let named = names.iter().filter_map(|name| Some(((), *medians.get(name)?)));
            row.best(named).map(|(_, value)| value)
        };
        let met = warren.and_then(|warren| row.met(warren, best.map(|(_, value)| value), of));
        // A value that is wanted as such is not better for being far below another's.
        let compared = !matches!(row.wanted, Some(Wanted::Value(_)));
        let ratio = warren.zip(best).filter(|_| compared).map(|(warren, (_, value))| warren / value);
        Judged { medians, best, ratio, met }
    }

    fn heading(&self) -> Vec<String> {
        let peers = self.run.contenders.iter().map(|contender| contender.peer.name);
        ["row", "unit"].into_iter().chain(peers).chain(["ratio", "wanted", ""]).map(String::from).collect()
    }

    fn line(&self, group: &Group, row: &Row) -> Vec<String> {
        let judged = self.judge(group, row);
        let mut line = vec![row.name.to_owned(), row.unit.to_owned()];
        for contender in self.run.contenders {
            let name = contender.peer.name;
            let mark = if judged.best.is_some_and(|(best, _)| best == name) { "*" } else { "" };
            line.push(match judged.medians.get(name) {
                Some(median) => format!("{}{mark}", short(*median)),
                None => "failed".to_owned(),
            });
        }
        line.push(judged.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
        line.push(row.wanted_text());
        let verdict = match judged.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None if row.wanted.is_some() => "not judged",
            None => "",
        };
        line.push(verdict.to_owned());
        line
    }
}

/// What the figures were taken on.
fn machine() -> Value {
    let system = uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "cpus": thread::available_parallelism().map_or(0, usize::from),
        "cpu": model.map(|(_, model)| model),
        "kernel": system.release().to_string_lossy(),
    })
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 10_000.0 => format!("{:.1}k", value / 1e3),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Columns as wide as their widest cell; numbers to the right, the first two columns and the last two to the left.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut whole = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let left = column < 2 || column + 2 >= columns;
            let _ = if left { write!(whole, "{cell:<width$}  ") } else { write!(whole, "{cell:>width$}  ") };
        }
        text += whole.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_columns_straight() {
        assert_eq!([27_160.0, 1234.5, 27.16, 0.256].map(short), ["27.2k", "1234", "27.2", "0.26"]);
        let lines = [["row", "unit", "a", "best", ""], ["bulk", "MB/s", "1", "2", "met"]];
        let lines = lines.map(|line| line.map(String::from).to_vec());
        assert_eq!(aligned(&lines), "row   unit  a  best\nbulk  MB/s  1  2     met\n");
    }
}
