//! Keeps Grafana's dashboards and Prometheus' rules in step with the catalogue of metrics and with the runbook.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use warren_core::catalogue::Kind;

use crate::metrics;

/// What a scraper adds to every series.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

#[test]
fn every_metric_on_a_dashboard_or_in_a_rule_is_of_the_catalogue() {
    let mut seen = BTreeSet::new();
    for (place, expr) in expressions() {
        for (name, labels) in series(&expr) {
            let metric = known(&name).unwrap_or_else(|| panic!("{place}: no metric `{name}` in {expr}"));
            for label in labels {
                let bucket = label == "le" && name.ends_with("_bucket");
                assert!(
                    bucket || TARGET_LABELS.contains(&&*label) || metric.1.contains(&&*label),
                    "{place}: `{name}` has no label `{label}`"
                );
            }
            seen.insert(metric.0);
        }
    }
    // Nobody should have to write a query for what we found worth counting.
    let unseen: Vec<_> =
        metrics::all().map(|metric| metric.name).filter(|name| !seen.contains(name)).collect();
    assert!(unseen.is_empty(), "on no dashboard and in no rule: {unseen:?}");
}

#[test]
fn every_panel_says_what_it_shows_in_a_unit_that_fits() {
    let mut panels = 0;
    for (path, board) in dashboards() {
        for panel in board["panels"].as_array().unwrap() {
            if panel["type"] == "row" {
                continue;
            }
            panels += 1;
            let place = format!("{}: {}", path.display(), panel["title"]);
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{place}");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let expr = target["expr"].as_str().unwrap();
                if let Some(wanted) = unit_of(expr).filter(|_| panel["type"] != "table") {
                    assert_eq!(unit, wanted, "{place}: {expr}");
                }
            }
        }
    }
    assert!(panels > 60, "only {panels} panels were found");
}

#[test]
fn every_alert_has_a_page_and_a_test() {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let mut tested = String::new();
    for test in files("grafana/alerts/tests", "yml") {
        tested.push_str(&fs::read_to_string(test).unwrap());
    }
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let Some(name) = rule["alert"].as_str() else { continue };
        alerts.insert(name.to_owned());
        for text in ["summary", "description", "runbook"] {
            assert!(
                rule["annotations"][text].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {text}"
            );
        }
        let link = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["page"], link.as_str(), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        assert!(
            tested.contains(&format!("alertname=\"{name}\"")),
            "no test in grafana/alerts/tests fires {name}"
        );
    }
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: BTreeSet<_> = headings.map(str::to_owned).collect();
    assert_eq!(alerts, explained, "the rules and the sections of docs/alerts.md");
}

#[test]
fn series_are_found_in_an_expression() {
    let expr =
        "sum by (group, le) (rate(warren_x_seconds_bucket{group=~\"$g\", result!=\"a,b\"}[5m])) / warren_y";
    let found = series(expr);
    assert_eq!(found[0], ("warren_x_seconds_bucket".to_owned(), vec!["group".into(), "result".into()]));
    assert_eq!(found[1], ("warren_y".to_owned(), vec![]));
    assert_eq!(found.len(), 2);
}

/// Name and labels of the metric that a series belongs to.
fn known(series: &str) -> Option<(&'static str, &'static [&'static str])> {
    metrics::all()
        .find(|metric| match metric.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|part| series.strip_suffix(part) == Some(metric.name)),
            Kind::Counter | Kind::Gauge => series == metric.name,
        })
        .map(|metric| (metric.name, metric.labels))
}

/// The series of ours in an expression, each with the labels by which it is selected.
fn series(expr: &str) -> Vec<(String, Vec<String>)> {
    // What stands in quotes may hold anything.
    let bare: String = expr.split('"').step_by(2).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_word) {
        let word = rest[start..].split(|c| !is_word(c)).next().unwrap();
        rest = &rest[start + word.len()..];
        if !["warren_", "process_"].iter().any(|prefix| word.starts_with(prefix)) {
            continue;
        }
        let selector = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let labels =
            selector.map(|(inside, _)| inside.split(',').filter_map(|one| one.split(['=', '!']).next()));
        let labels = labels.into_iter().flatten().map(|label| label.trim().to_owned());
        found.push((word.to_owned(), labels.collect()));
    }
    found
}

/// The unit that an expression's result must be shown in, where its metric says so.
fn unit_of(expr: &str) -> Option<&'static str> {
    let has = |part: &str| expr.contains(part);
    if has("histogram_quantile") || has("_timestamp_seconds") && has("time()") {
        Some("s")
    } else if has("_bytes_total") {
        Some("Bps")
    } else if has("_bytes") {
        Some(if has("/") { "percentunit" } else { "bytes" })
    } else {
        None
    }
}

/// Every expression of the dashboards and rules, and where it stands. Of labels' lists, the whole query.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, board) in dashboards() {
        let mut take = |what: &Value, expr: &Value| {
            let place = format!("{}: {what}", path.display());
            all.push((place, expr.as_str().unwrap_or_default().to_owned()));
        };
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                take(&panel["title"], &target["expr"]);
            }
        }
        for annotation in board["annotations"]["list"].as_array().unwrap() {
            take(&annotation["name"], &annotation["target"]["expr"]);
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            take(&variable["name"], &variable["query"]["query"]);
        }
    }
    for rule in rules() {
        let name = [&rule["alert"], &rule["record"]].into_iter().find_map(Value::as_str);
        all.push((name.unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned()));
    }
    assert!(all.len() > 100, "only {} expressions were found", all.len());
    all
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let read = |path: &PathBuf| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files("grafana/dashboards", "json").into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn rules() -> Vec<Value> {
    let mut rules = Vec::new();
    for path in files("grafana/alerts", "yml") {
        let file: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for group in file["groups"].as_array().unwrap() {
            rules.extend(group["rules"].as_array().unwrap().iter().cloned());
        }
    }
    rules
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {folder}");
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
