//! Logs and metrics of a server process.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{exit::Failure, metrics};

#[cfg(windows)]
pub(crate) mod output;
pub(crate) mod process;

/// From a loopback round trip to the longest deadline that we have.
const BUCKETS_SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// What talks too much at `info`; a filter that names one of them wins. What matters of the Raft library's life the
/// group reports in its own words; its warnings tell of what is part of every election. What
/// HTTP/2 warns of, any stranger can send at any rate; the gateway counts it.
const QUIET: &str =
    "openraft=off,sqlx=warn,h2=error,hyper=warn,hyper_util=warn,tonic=warn,tower=warn,rustls=warn";

/// How log lines are written on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Log and metrics as they were set up.
#[derive(Clone)]
pub(crate) struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    prometheus: Option<PrometheusHandle>,
    data_dir: PathBuf,
}

impl Telemetry {
    /// Sets up the process's log, and its metrics if they will be read; they tell of the space in `data_dir`, too. Call
    /// once.
    pub(crate) fn start(
        filter: &str,
        format: LogFormat,
        with_metrics: bool,
        data_dir: &Path,
    ) -> Result<Self, Failure> {
        let (filter, handle) = reload::Layer::new(read_filter(filter)?);
        let lines = fmt::layer().with_writer(lines).log_internal_errors(false);
        let lines = match format {
            LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let twice = |error| Failure::usage("logging is set up already").because(error);
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(twice)?;
        let prometheus = if with_metrics { Some(install_recorder()?) } else { None };
        Ok(Self { filter: handle, prometheus, data_dir: data_dir.to_owned() })
    }

    /// Takes another log filter from here on.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), Failure> {
        let filter = read_filter(filter)?;
        self.filter
            .reload(filter)
            .map_err(|error| Failure::usage("cannot change the log filter").because(error))
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let Some(prometheus) = &self.prometheus else { return String::new() };
        let cpu = metrics::record_process(&self.data_dir);
        without_the_gone(&prometheus.render()) + &cpu
    }

    /// To be called every few seconds: samples are kept one by one until then.
    pub(crate) fn upkeep(&self) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.run_upkeep();
        }
    }

    /// Not connected to anything of the process.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let (_, filter) = reload::Layer::new(EnvFilter::new("off"));
        Self { filter, prometheus: Some(recorder().build_recorder().handle()), data_dir: PathBuf::from(".") }
    }
}

#[cfg(unix)]
use io::stderr as lines;

#[cfg(windows)]
fn lines() -> output::Lines {
    output::Lines
}

/// Gauges cannot be taken back from the recorder. Those of things that are no more were set to no number, which would
/// spoil every sum that they are part of.
fn without_the_gone(rendered: &str) -> String {
    rendered.split_inclusive('\n').filter(|line| !line.trim_end().ends_with(" NaN")).collect()
}

fn read_filter(filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| {
        Failure::usage(format!(
            "`{filter}` is not a log filter, expected such as info or info,warren_agent=debug"
        ))
        .because(error.to_string())
    })
}

fn recorder() -> PrometheusBuilder {
    // The only failure is an empty list of buckets.
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS_SECONDS)
        .expect("the list of buckets is not empty")
}

fn install_recorder() -> Result<PrometheusHandle, Failure> {
    let handle = recorder()
        .install_recorder()
        .map_err(|error| Failure::usage("metrics are set up already").because(error))?;
    metrics::describe_all();
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_wrong_configuration() {
        assert!(read_filter("info").is_ok());
        assert!(read_filter("warn,openraft=debug").is_ok());
        let told = read_filter("info,warren=loud").unwrap_err().to_string();
        assert!(told.starts_with("`info,warren=loud` is not a log filter"), "{told}");
    }

    #[test]
    fn the_raft_library_is_silent_unless_it_is_asked_for() {
        let library_line = |filter| {
            let subscriber = tracing_subscriber::registry().with(read_filter(filter).unwrap());
            tracing::subscriber::with_default(
                subscriber,
                || tracing::enabled!(target: "openraft::core", tracing::Level::ERROR),
            )
        };
        assert!(!library_line("info"));
        assert!(!library_line("debug"));
        assert!(library_line("info,openraft=warn"));
    }

    #[test]
    fn the_processor_time_is_a_counter_with_fractions() {
        let text = Telemetry::detached().render();
        let (_, cpu) = text.split_once("# TYPE process_cpu_seconds_total counter\n").unwrap();
        let value = cpu.lines().next().unwrap().strip_prefix("process_cpu_seconds_total ").unwrap();
        assert!(value.contains('.') && value.parse::<f64>().is_ok(), "{text}");
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let recorder = recorder().build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::gauge!("warren_x", "group" => "gone").set(f64::NAN);
            ::metrics::gauge!("warren_x", "group" => "here").set(1.0);
        });
        let text = without_the_gone(&recorder.handle().render());
        assert!(!text.contains("gone") && text.contains(r#"warren_x{group="here"} 1"#), "{text}");
    }

    #[test]
    fn times_are_counted_in_buckets() {
        let recorder = recorder().build_recorder();
        ::metrics::with_local_recorder(&recorder, || ::metrics::histogram!("warren_x_seconds").record(0.2));
        let text = recorder.handle().render();
        assert!(text.contains(r#"warren_x_seconds_bucket{le="0.25"} 1"#), "{text}");
    }
}
