//! The catalogue with its figures, for people and for programs.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value as Json, json};

use super::{End, ROWS, Row, Run, Shown, Unit, Value};

/// What runs of rows have shown: for each row the worst of each figure, of how many runs, and when.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<u8, Figure>);

#[derive(Debug)]
struct Figure {
    date: String,
    build: String,
    runs: u64,
    /// Of the runs; their figures, as far as they came, are among the others.
    failed: u64,
    values: Vec<Worst>,
}

#[derive(Debug)]
struct Worst {
    what: String,
    unit: Unit,
    promised: Option<f64>,
    median: f64,
    worst: f64,
}

impl Figures {
    pub fn read(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let rows = json.as_object().ok_or("no object of rows")?;
        let rows = rows.iter().map(|(number, row)| {
            let broken = || format!("row {number} cannot be understood");
            let number = number.parse().map_err(|_| broken())?;
            Ok((number, Figure::read(row).ok_or_else(broken)?))
        });
        rows.collect::<Result<_, String>>().map(Self)
    }

    pub fn write(&self) -> String {
        let rows = self.0.iter().map(|(number, figure)| (number.to_string(), figure.write()));
        // As an object of this crate's own type would order them by text, not by number.
        let lines: Vec<_> = rows.map(|(number, row)| format!("\"{number}\": {row}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// Puts the runs of a row in the place of what was known of it; of none but skipped ones nothing is known.
    pub fn put(&mut self, number: u8, date: &str, build: &str, runs: &[Run]) {
        let made: Vec<_> = runs.iter().filter(|run| !matches!(run.end, End::Skipped(_))).collect();
        if made.is_empty() {
            return;
        }
        let mut all: Vec<(&Value, Vec<f64>)> = Vec::new();
        for value in made.iter().flat_map(|run| run.seen.values()) {
            match all.iter_mut().find(|(known, _)| known.what == value.what) {
                Some((_, values)) => values.push(value.value),
                None => all.push((value, vec![value.value])),
            }
        }
        let worst = |(value, mut values): (&Value, Vec<f64>)| {
            values.sort_by(f64::total_cmp);
            Worst {
                what: value.what.to_owned(),
                unit: value.unit,
                promised: value.promised,
                median: values[values.len() / 2],
                worst: values[values.len() - 1],
            }
        };
        let values = all.into_iter().map(worst).collect();
        let failed = made.iter().filter(|run| matches!(run.end, End::Failed(_))).count() as u64;
        let (date, build) = (date.to_owned(), build.to_owned());
        self.0.insert(number, Figure { date, build, runs: made.len() as u64, failed, values });
    }

    /// One row's figures, a line each.
    pub fn lines(&self, number: u8) -> Vec<String> {
        let Some(figure) = self.0.get(&number) else { return Vec::new() };
        let line = |worst: &Worst| {
            let promised =
                worst.promised.map_or(String::new(), |most| format!(", promised {}", worst.unit.show(most)));
            let missed = if worst.is_missed() { "  MISSED" } else { "" };
            let (median, most) = (worst.unit.show(worst.median), worst.unit.show(worst.worst));
            format!("{}: worst {most}, median {median}{promised}{missed}", worst.what)
        };
        figure.values.iter().map(line).collect()
    }

    /// Whether a figure of the row is not what was promised.
    pub fn is_missed(&self, number: u8) -> bool {
        self.0.get(&number).is_some_and(|figure| figure.values.iter().any(Worst::is_missed))
    }
}

impl Figure {
    fn read(json: &Json) -> Option<Self> {
        let values = json["figures"].as_array()?.iter().map(Worst::read).collect::<Option<_>>()?;
        let text = |name: &str| Some(json[name].as_str()?.to_owned());
        Some(Self {
            date: text("date")?,
            build: text("build")?,
            runs: json["runs"].as_u64()?,
            failed: json["failed"].as_u64()?,
            values,
        })
    }

    fn write(&self) -> Json {
        let figures: Vec<_> = self.values.iter().map(Worst::write).collect();
        json!({
            "date": self.date,
            "build": self.build,
            "runs": self.runs,
            "failed": self.failed,
            "figures": figures,
        })
    }
}

impl Worst {
    fn is_missed(&self) -> bool {
        self.promised.is_some_and(|promised| self.worst > promised)
    }

    fn read(json: &Json) -> Option<Self> {
        Some(Self {
            what: json["what"].as_str()?.to_owned(),
            unit: Unit::read(json["unit"].as_str()?)?,
            promised: json["promised"].as_f64(),
            median: json["median"].as_f64()?,
            worst: json["worst"].as_f64()?,
        })
    }

    fn write(&self) -> Json {
        json!({
            "what": self.what,
            "unit": self.unit.word(),
            "promised": self.promised,
            "median": round(self.median),
            "worst": round(self.worst),
        })
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Millis if value >= 1e4 => format!("{:.0} s", value / 1e3),
            Self::Millis if value >= 1e3 => format!("{:.1} s", value / 1e3),
            Self::Millis => format!("{value:.0} ms"),
            Self::Count => format!("{value:.0}"),
            Self::Percent => format!("{value:.1} %"),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Count => "count",
            Self::Percent => "percent",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Millis, Self::Count, Self::Percent].into_iter().find(|unit| unit.word() == word)
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The table of the README.
pub fn table(figures: &Figures) -> String {
    let mut text = String::from(
        "| | fault | how it is made | promised | worst seen | shown by |\n|---|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.number,
            row.fault,
            row.made,
            row.promised,
            seen(row, figures),
            shown(row)
        );
    }
    text
}

fn seen(row: &Row, figures: &Figures) -> String {
    let Shown::Here(..) = row.shown else { return String::new() };
    let Some(figure) = figures.0.get(&row.number) else { return "not measured yet".to_owned() };
    let value = |worst: &Worst| {
        let missed = if worst.is_missed() { ", **missed**" } else { "" };
        format!("{} {}{missed}", worst.what, worst.unit.show(worst.worst))
    };
    let values: Vec<_> = figure.values.iter().map(value).collect();
    let Figure { date, build, runs, failed, .. } = figure;
    let failed = if *failed > 0 { format!(", **{failed} failed**") } else { String::new() };
    format!("{} (n = {runs}{failed}, {date}, {build})", values.join("; ")).trim_start().to_owned()
}

fn shown(row: &Row) -> String {
    match &row.shown {
        Shown::Here(trial, more) => {
            let how = if trial.in_suite { "`faults`, `prove faults`" } else { "`prove faults`" };
            if more.is_empty() { how.to_owned() } else { format!("{how}; {more}") }
        }
        Shown::By(tests) => (*tests).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::Seen, *};

    const BEGIN: &str = "<!-- begin: faults -->\n";
    const END: &str = "<!-- end: faults -->";

    #[test]
    fn the_readme_shows_the_catalogue_with_its_figures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let figures = Figures::read(&fs::read_to_string(folder.join("faults/seen.json")).unwrap()).unwrap();
        let path = folder.join("README.md");
        let readme = fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap();
        let (known, after) = rest.split_once(END).unwrap();
        let wanted = table(&figures);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
            return;
        }
        assert_eq!(known, wanted, "UPDATE=1 writes it anew");
    }

    #[test]
    fn figures_read_back_and_keep_the_worst() {
        let run = |millis| {
            let mut seen = Seen::new(1, 1);
            let (took, promised) =
                (std::time::Duration::from_millis(millis), std::time::Duration::from_millis(20));
            seen.time("open", took, promised, promised * 10);
            seen.count("lost", 0, 0);
            Run { seed: 1, seen, end: End::Fine }
        };
        let mut figures = Figures::default();
        figures.put(23, "2026-11-25", "debug", &[run(10), run(30), run(15)]);
        figures.put(4, "2026-11-25", "debug", &[run(10)]);
        let text = figures.write();
        let read = Figures::read(&text).unwrap();
        assert_eq!(read.write(), text);
        assert!(text.find("\"4\"") < text.find("\"23\""), "by number: {text}");
        let told = [
            "open: worst 30 ms, median 15 ms, promised 20 ms  MISSED",
            "lost: worst 0, median 0, promised 0",
        ];
        assert_eq!(read.lines(23), told);
        assert!(read.is_missed(23) && !read.is_missed(4));
    }

    #[test]
    fn failed_runs_are_told_with_their_figures_and_skipped_ones_leave_what_is_known() {
        let run = |lost, end| {
            let mut seen = Seen::new(1, 1);
            seen.counted("lost", lost);
            Run { seed: 1, seen, end }
        };
        let mut figures = Figures::default();
        let failed = run(3, End::Failed(Box::new("three were lost")));
        figures.put(23, "2026-11-25", "debug", &[run(0, End::Fine), failed]);
        figures.put(23, "2026-11-26", "debug", &[run(9, End::Skipped("no root".to_owned()))]);
        figures.put(9, "2026-11-26", "debug", &[run(9, End::Skipped("no root".to_owned()))]);
        let table = table(&Figures::read(&figures.write()).unwrap());
        assert!(table.contains("lost 3 (n = 2, **1 failed**, 2026-11-25, debug)"), "{table}");
        assert_eq!(figures.write().matches("\"runs\"").count(), 1, "row 9 was never run");
    }

    #[test]
    fn rows_are_numbered_and_those_of_the_suite_are_scenarios() {
        let scenarios = include_str!("../tests/scenarios/faults.rs");
        for (row, number) in ROWS.iter().zip(1..) {
            assert_eq!(row.number, number);
            let Shown::Here(trial, _) = &row.shown else { continue };
            let named = scenarios.contains(&format!(" = {number},"));
            assert_eq!(named, trial.in_suite, "row {number}");
        }
    }
}
