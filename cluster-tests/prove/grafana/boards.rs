//! The dashboards' expressions, as Grafana would send them.

use std::{fs, path::Path};

use serde_json::Value;

/// One expression of a dashboard.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) board: String,
    /// Title of the panel, or name of the annotation or variable.
    pub(crate) title: String,
    /// Of the panel.
    pub(crate) id: Option<u64>,
    /// How its series are called.
    pub(crate) legend: String,
    pub(crate) expr: String,
}

/// Everything that a dashboard asks, with its variables filled in: all of everything.
pub(crate) fn queries(board: &Path, range: &str) -> Vec<Query> {
    let text = fs::read_to_string(board).expect("a dashboard can be read");
    let json: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
    let name = board.file_stem().and_then(|stem| stem.to_str()).expect("a dashboard has a name");
    let query = |title: &Value, id: &Value, legend: &Value, expr: &str| Query {
        board: name.to_owned(),
        title: words(title),
        id: id.as_u64(),
        legend: words(legend),
        expr: filled(expr, range),
    };
    let mut queries = Vec::new();
    for panel in list(&json["panels"]) {
        for target in list(&panel["targets"]) {
            queries.push(query(
                &panel["title"],
                &panel["id"],
                &target["legendFormat"],
                &words(&target["expr"]),
            ));
        }
    }
    for annotation in list(&json["annotations"]["list"]).filter(|one| one["target"].is_object()) {
        queries.push(query(
            &annotation["name"],
            &Value::Null,
            &Value::Null,
            &words(&annotation["target"]["expr"]),
        ));
    }
    for variable in list(&json["templating"]["list"]).filter(|one| one["type"] == "query") {
        let asked = words(&variable["query"]["query"]);
        let inner = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) =
            inner.and_then(|inner| inner.rsplit_once(',')).expect("label_values(series, label)");
        let expr = format!("count by ({}) ({selector})", label.trim());
        queries.push(query(&variable["name"], &Value::Null, &Value::Null, &expr));
    }
    queries
}

fn filled(expr: &str, range: &str) -> String {
    let all = [("$__rate_interval", "10s"), ("$__range", range), ("${customer}", "(.+/)?")];
    let named = ["$group", "$member", "$gateway"].map(|name| (name, ".*"));
    all.into_iter().chain(named).fold(expr.to_owned(), |expr, (name, value)| expr.replace(name, value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
