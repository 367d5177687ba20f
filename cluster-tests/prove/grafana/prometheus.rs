//! A real Prometheus on loopback, scraping what the site serves.

use std::{
    fs,
    io::{self, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use warren_cluster_tests::{caller, eventually};

use crate::server::{self, Server};

/// Scrapes and rules, each once a second.
const CONFIG: &str = "\
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: warren-gateway
    file_sd_configs: [{files: [gateway.json], refresh_interval: 1s}]
  - job_name: warren-agent
    file_sd_configs: [{files: [agents.json], refresh_interval: 1s}]
";

/// Over how long the rules look back, and over how long they do here, so that what has ended is soon past.
const WINDOWS: [(&str, &str); 6] = [
    ("[5m]", "[15s]"),
    ("[10m]", "[80s]"),
    ("[15m]", "[60s]"),
    ("[30m]", "[20s]"),
    ("[1h]", "[20s]"),
    ("[6h]", "[30s]"),
];

#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    dir: TempDir,
    _server: Server,
}

/// Samples of one series over time.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Value,
    /// Seconds and values.
    pub(crate) samples: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts it with these rules, which wait only `pending` before they fire and look back over short windows.
    pub(crate) fn start(rules: &Path, pending: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("a temporary directory can be written");
        };
        let text = fs::read_to_string(rules).expect("the rules can be read");
        let text = WINDOWS.iter().fold(text, |text, (long, short)| text.replace(long, short));
        let hurried = text.lines().map(|line| match line.split_once("for: ") {
            Some((before, _)) if before.trim().is_empty() => format!("{before}for: {pending}\n"),
            _ => format!("{line}\n"),
        });
        write("rules.yml", &hurried.collect::<String>());
        write("prometheus.yml", CONFIG);
        write("gateway.json", "[]");
        write("agents.json", "[]");
        let address = server::free_address();
        let log = fs::File::create(dir.path().join("log")).expect("a temporary directory can be written");
        let mut command = Command::new("prometheus");
        command.current_dir(dir.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null()).stderr(log);
        let server = Server::start(&mut command, address);
        Self { address, dir, _server: server }
    }

    /// Scrapes these from now on, each under its own name.
    pub(crate) fn scrape(&self, job: &str, targets: &[(String, SocketAddr)]) {
        let targets: Vec<_> = targets
            .iter()
            .map(|(name, address)| json!({"targets": [address.to_string()], "labels": {"instance": name}}))
            .collect();
        // Written beside and renamed, so that it is never read half.
        let (file, beside) = (self.dir.path().join(format!("{job}.json")), self.dir.path().join("new"));
        fs::write(&beside, Value::from(targets).to_string()).expect("a temporary directory can be written");
        fs::rename(&beside, &file).expect("a temporary directory can be written");
    }

    /// What an expression says now; an error is Prometheus' own words.
    pub(crate) fn now(&self, expr: &str) -> Result<Vec<Value>, String> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expr)))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// What it has said, second by second, since `from`.
    pub(crate) fn since(&self, from: SystemTime, expr: &str) -> Result<Vec<Series>, String> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (start, end) = (seconds(from), seconds(SystemTime::now()));
        let data =
            self.ask(&format!("/api/v1/query_range?query={}&start={start}&end={end}&step=1", encoded(expr)))?;
        Ok(data["result"].as_array().into_iter().flatten().map(Series::of).collect())
    }

    /// Waits until an expression has a result.
    pub(crate) fn wait_for(&self, what: &str, expr: &str, within: Duration) {
        eventually(what, within, || {
            let found = self.now(expr).unwrap_or_else(|error| panic!("{expr}: {error}"));
            (!found.is_empty()).then_some(())
        });
    }

    /// Name and expression of each rule that it has loaded.
    pub(crate) fn rules(&self) -> Vec<(String, String)> {
        let loaded = self.ask("/api/v1/rules").expect("Prometheus tells its rules");
        let groups = loaded["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| (words(&rule["name"]), words(&rule["query"]))).collect()
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let text = get(self.address, path).map_err(|error| format!("Prometheus does not answer: {error}"))?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }
}

impl Series {
    fn of(result: &Value) -> Self {
        let sample = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
        let samples = result["values"].as_array().into_iter().flatten().filter_map(sample).collect();
        Self { labels: result["metric"].clone(), samples }
    }

    /// Whether there is anything to draw.
    pub(crate) fn shows(&self) -> bool {
        self.samples.iter().any(|(_, value)| value.is_finite())
    }
}

/// What there is against the metrics of a process by Prometheus' conventions for names, units and help; empty if nothing is.
pub(crate) fn lint(metrics: &str) -> String {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool is installed");
    let mut input = promtool.stdin.take().expect("it is piped");
    input.write_all(metrics.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool ends");
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() || !told.is_empty(), "promtool gives no reason");
    told
}

/// HTTP/1.0, so that the answer comes in one piece.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut socket = caller::connect(address)?;
    write!(socket, "GET {path} HTTP/1.0\r\nhost: prometheus\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other(format!("not an HTTP answer: {answer}")))
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
