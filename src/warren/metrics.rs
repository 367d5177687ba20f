//! Metrics of the process itself, and the catalogue of all that the program has.

use std::path::Path;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use warren_core::catalogue::{Kind, Metric};

use crate::telemetry::process::{Space, Usage};

// The names that every Prometheus dashboard knows, so without our prefix.
pub(crate) const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
pub(crate) const OPEN_FDS: &str = "process_open_fds";
pub(crate) const CPU_SECONDS_TOTAL: &str = "process_cpu_seconds_total";
pub(crate) const START_TIME_SECONDS: &str = "process_start_time_seconds";
pub(crate) const BUILD_INFO: &str = "warren_build_info";
pub(crate) const DATA_AVAILABLE_BYTES: &str = "warren_data_available_bytes";
pub(crate) const OTLP_SPANS_TOTAL: &str = "warren_otlp_spans_total";
pub(crate) const DATA_SIZE_BYTES: &str = "warren_data_size_bytes";

pub(crate) const CATALOGUE: &[Metric] = &[
    Metric { name: RESIDENT_BYTES, kind: Kind::Gauge, labels: &[], help: "Resident memory of the process." },
    Metric { name: OPEN_FDS, kind: Kind::Gauge, labels: &[], help: "Open file descriptors." },
    Metric {
        name: CPU_SECONDS_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        help: "CPU time used since the start, user and system.",
    },
    Metric {
        name: START_TIME_SECONDS,
        kind: Kind::Gauge,
        labels: &[],
        help: "When the process began, seconds since the Unix epoch.",
    },
    Metric {
        name: BUILD_INFO,
        kind: Kind::Gauge,
        labels: &["version"],
        help: "One, with the version as a label.",
    },
    Metric {
        name: DATA_AVAILABLE_BYTES,
        kind: Kind::Gauge,
        labels: &[],
        help: "Bytes that this process may still write to the file system of its data folder.",
    },
    Metric {
        name: DATA_SIZE_BYTES,
        kind: Kind::Gauge,
        labels: &[],
        help: "Size of the file system of the data folder.",
    },
    Metric {
        name: OTLP_SPANS_TOTAL,
        kind: Kind::Counter,
        labels: &["result"],
        help: "Spans for the collector, with --otlp: exported, dropped because too many waited, failed because it was away or refused the message, or rejected by it one by one.",
    },
];

/// Every metric that the program can show.
pub(crate) fn all() -> impl Iterator<Item = &'static Metric> {
    let crates = [
        CATALOGUE,
        warren_tunnel::metrics::CATALOGUE,
        warren_group::metrics::CATALOGUE,
        warren_gateway::metrics::CATALOGUE,
        warren_agent::metrics::CATALOGUE,
    ];
    crates.into_iter().flatten()
}

/// Gives the recorder the help texts.
pub(crate) fn describe_all() {
    for Metric { name, kind, help, .. } in all() {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, *help),
        }
    }
}

/// Reads /proc and the data folder's file system anew; called for each scrape. Returns what the recorder cannot say, in Prometheus' text format: its
/// counters are whole numbers, and processor time in whole seconds makes bad rates.
pub(crate) fn record_process(data_dir: &Path) -> String {
    let (usage, space) = (Usage::now(), Space::of(data_dir));
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let values = [
        (RESIDENT_BYTES, usage.resident_bytes.map(|bytes| bytes as f64)),
        (OPEN_FDS, usage.open_fds.map(|fds| fds as f64)),
        (START_TIME_SECONDS, usage.started_s),
        (DATA_AVAILABLE_BYTES, space.map(|space| space.available_bytes as f64)),
        (DATA_SIZE_BYTES, space.map(|space| space.size_bytes as f64)),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            gauge!(name).set(value);
        }
    }
    usage.cpu_seconds.map(cpu_lines).unwrap_or_default()
}

fn cpu_lines(seconds: f64) -> String {
    let help =
        CATALOGUE.iter().find(|metric| metric.name == CPU_SECONDS_TOTAL).map_or("", |metric| metric.help);
    format!(
        "# HELP {CPU_SECONDS_TOTAL} {help}\n# TYPE {CPU_SECONDS_TOTAL} counter\n{CPU_SECONDS_TOTAL} {seconds:.2}\n\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_has_one_name_of_our_form_and_a_sentence() {
        let mut seen = BTreeSet::new();
        for metric in all() {
            assert!(seen.insert(metric.name), "{} is listed twice", metric.name);
            assert!(
                ["warren_", "process_"].iter().any(|prefix| metric.name.starts_with(prefix)),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.') && metric.help.len() > 10, "{}: {}", metric.name, metric.help);
            assert!(metric.kind != Kind::Counter || metric.name.ends_with("_total"), "{}", metric.name);
        }
    }
}
