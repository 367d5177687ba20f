//! Grafana's dashboards and the alerts against a running group: a real Prometheus scrapes a gateway and three agents under
//! load, one fault after the other is made and healed, and every expression of every panel, annotation, variable and rule is
//! asked. It fails on one that does not parse or shows nothing, and on an alert that does not fire with its fault or does
//! not end with the cure. `GRAFANA_FRAMES=FILE` keeps what the panels showed, for `grafana/draw`.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use warren_cluster_tests::{
    OtherGateway, Place, Postgres, Relay, Site, caller,
    crew::Crew,
    hold, http,
    netns::{self, Firewall},
    target,
};

use crate::server;
use prometheus::{Prometheus, Series};

mod acts;
mod boards;
mod prometheus;

/// What the rules wait before they fire, here as short as can be; so are the windows over which they look back.
const PENDING: &str = "2s";
const SLOW: Duration = Duration::from_secs(60);
const CALLERS: usize = 12;
/// What shows nothing although all is well with the expression.
const EMPTY: [(&str, &str); 1] = [("customer", "the group here is of no customer")];
/// Spans are counted though nobody takes them.
const NO_COLLECTOR: [&str; 2] = ["--otlp", "http://127.0.0.1:9"];
/// Fires with a program of another version beside this one only, which `WARREN_OLD_BIN` names.
const NEEDS_ANOTHER: &str = "WarrenVersionSkew";

pub(crate) fn prove() {
    assert!(rustix::process::geteuid().is_root(), "a small disk is mounted: run it as root");
    netns::within(prove_within);
}

fn prove_within() {
    let mut run = Run::start();
    run.calm();
    run.drain();
    run.edit();
    run.cut_tunnels();
    run.lose_target();
    run.kill_one();
    run.kill_two();
    run.kill_all();
    run.kill_gateway();
    run.cut_off();
    run.freeze_leaders();
    run.slow_disk();
    run.fill_disk();
    run.shorten_certificates();
    run.mix_versions();
    run.intrude();
    run.pass_on();
    run.strangers();
    run.judge();
}

/// An agent's program of another version, to run beside this one.
fn other_version() -> Option<Place> {
    env::var_os("WARREN_OLD_BIN").map(Place::running)
}

struct Run {
    site: Site,
    /// A second gateway, once it is there.
    other: Option<OtherGateway>,
    /// Of all gateways.
    shared: Vec<String>,
    _postgres: Postgres,
    relay: Relay,
    firewall: Firewall,
    prometheus: Prometheus,
    began: SystemTime,
    echo: SocketAddr,
    load: Load,
    /// When the latest fault or cure was made.
    made: Instant,
    /// From the fault to the alert, and from the cure to its end.
    alerts: BTreeMap<&'static str, (Duration, Option<Duration>)>,
}

impl Run {
    fn start() -> Self {
        let firewall = Firewall::install();
        let postgres = Postgres::start(&[]).expect("postgresql is installed");
        let key = postgres.data().with_file_name("operator.key");
        let shared = ["--store", &postgres.database("warren"), "--operator-key-file", server::path(&key)];
        let shared = [&shared[..], &NO_COLLECTOR].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let builder = Site::builder().gateway_args(&strs(&shared));
        let mut site = builder.gateway_file("").start();
        let relay = Relay::start(site.listen());
        let file = site.path("agent.yaml");
        fs::write(&file, "veto: {deny: [127.0.0.99/32]}\n").expect("the site's directory can be written");
        let config = server::path(&file);
        for number in 1..=3 {
            site.add_agent_through(
                &relay,
                &format!("agent-{number}"),
                &[&["--config", config], &NO_COLLECTOR[..]].concat(),
            );
        }
        site.wait_for_members(3);
        let prometheus = Prometheus::start(&root().join("grafana/alerts/warren.yml"), PENDING);
        let echo = site.resource("echo", target::echo());
        let load = Load::start(echo);
        let (began, made) = (SystemTime::now(), Instant::now());
        let mut run = Self {
            site,
            other: None,
            shared,
            _postgres: postgres,
            relay,
            firewall,
            prometheus,
            began,
            echo,
            load,
            made,
            alerts: BTreeMap::new(),
        };
        run.scrape();
        run
    }

    /// A process that was started anew has other ports.
    fn scrape(&mut self) {
        let mut gateways = vec![("gateway-1".to_owned(), self.site.gateway.address("metrics"))];
        let other =
            self.other.as_mut().map(|other| ("gateway-2".to_owned(), other.process.address("metrics")));
        gateways.extend(other);
        self.prometheus.scrape("gateway", &gateways);
        let agents: Vec<_> = self
            .site
            .agents
            .iter_mut()
            .map(|agent| (agent.name.clone(), agent.process.address("metrics")))
            .collect();
        self.prometheus.scrape("agents", &agents);
    }

    /// Waits until the alert fires; the name is remembered with the time that took.
    fn fires(&mut self, alert: &'static str) {
        self.prometheus.wait_for(&format!("{alert} fires"), &firing(alert), SLOW);
        self.alerts.insert(alert, (self.made.elapsed(), None));
    }

    fn ends(&mut self, alert: &'static str) {
        self.prometheus.wait_for(&format!("{alert} ends"), &format!("absent({})", firing(alert)), SLOW * 2);
        self.alerts.entry(alert).or_default().1 = Some(self.made.elapsed());
    }

    fn all_fire(&mut self, alerts: &[&'static str]) {
        alerts.iter().for_each(|alert| self.fires(alert));
    }

    fn all_end(&mut self, alerts: &[&'static str]) {
        alerts.iter().for_each(|alert| self.ends(alert));
    }

    fn kill(&mut self, agents: &[usize]) {
        self.made = Instant::now();
        agents.iter().for_each(|agent| self.site.agents[*agent].process.kill());
    }

    fn restart(&mut self, agents: &[usize]) {
        self.made = Instant::now();
        agents.iter().for_each(|agent| self.site.agents[*agent].restart());
        self.site.wait_for_members(3);
        self.scrape();
    }

    /// What `promtool check metrics` has against the metrics of any process.
    fn lint(&mut self) -> Vec<String> {
        let others = self.other.iter_mut().map(|other| &mut other.process);
        let agents = self.site.agents.iter_mut().map(|agent| &mut agent.process);
        let processes = std::iter::once(&mut self.site.gateway).chain(others).chain(agents);
        let texts = processes.map(|process| http::metrics(process.address("metrics")));
        texts.map(|text| prometheus::lint(&text)).filter(|told| !told.is_empty()).collect()
    }

    /// Every expression has something to show.
    fn judge(mut self) {
        let mut wrong = self.lint();
        let opens = self.load.finish();
        let seconds = self.began.elapsed().unwrap_or_default().as_secs();
        let mut frames = Vec::new();
        let mut asked = 0;
        for board in ["group-status", "gateway-fleet", "agent-raft"] {
            let path = root().join(format!("grafana/dashboards/{board}.json"));
            for query in boards::queries(&path, &format!("{seconds}s")) {
                asked += 1;
                let place = format!("{} / {}", query.board, query.title);
                let found = self.prometheus.since(self.began, &query.expr);
                let series = match found {
                    Ok(series) => series,
                    Err(error) => {
                        wrong.push(format!("{place}: {error} in {}", query.expr));
                        continue;
                    }
                };
                if !series.iter().any(Series::shows) && !EMPTY.iter().any(|(title, _)| *title == query.title)
                {
                    wrong.push(format!("{place} shows nothing: {}", query.expr));
                }
                if let Some(id) = query.id {
                    frames.push(frame(&query.board, id, &query.legend, &series));
                }
            }
        }
        let rules = self.prometheus.rules();
        for (name, expr) in &rules {
            let quiet = name == NEEDS_ANOTHER && other_version().is_none();
            // What records has a colon in its name.
            match self.alerts.get(name.as_str()) {
                Some((_, Some(_))) => {}
                Some((_, None)) => wrong.push(format!("{name} was not seen to end")),
                None if quiet || name.contains(':') => {}
                None => wrong.push(format!("{name} was not seen to fire")),
            }
            match self.prometheus.since(self.began, expr) {
                Ok(series) if series.iter().any(Series::shows) || quiet => {}
                Ok(_) => wrong.push(format!("rule {name} shows nothing: {expr}")),
                Err(error) => wrong.push(format!("rule {name}: {error} in {expr}")),
            }
        }
        println!("{opens} opens; {asked} expressions of dashboards and {} rules in {seconds} s", rules.len());
        for (alert, (fired, ended)) in &self.alerts {
            match ended {
                Some(ended) => println!("{alert}: fired after {fired:.1?}, ended {ended:.1?} after the cure"),
                None => println!("{alert}: fired after {fired:.1?}"),
            }
        }
        if let Some(file) = env::var_os("GRAFANA_FRAMES") {
            fs::write(file, Value::from(frames).to_string()).expect("the frames can be written");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn firing(alert: &str) -> String {
    // Of disks, the one that is filled.
    let instance = if alert == "WarrenDiskNearlyFull" { "agent-4" } else { ".*" };
    format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\", instance=~\"{instance}\"}}")
}

fn frame(board: &str, panel: u64, legend: &str, series: &[Series]) -> Value {
    let series: Vec<_> = series
        .iter()
        .map(|one| {
            let finite = one.samples.iter().filter(|(_, value)| value.is_finite());
            json!({"labels": one.labels, "samples": finite.collect::<Vec<_>>()})
        })
        .collect();
    json!({"board": board, "panel": panel, "legend": legend, "series": series})
}

/// Callers that come and go for as long as it runs.
struct Load {
    opens: Arc<AtomicU64>,
    callers: Crew<()>,
}

impl Load {
    fn start(echo: SocketAddr) -> Self {
        let (all, mut callers) = (Arc::new(AtomicU64::new(0)), Crew::default());
        for _ in 0..CALLERS {
            let opens = all.clone();
            callers.spawn(move |stop| {
                while !stop.is_set() {
                    opens.fetch_add(1, SeqCst);
                    // Faults are what the run is for: whoever is refused or cut comes again.
                    let session = caller::open_echo(echo);
                    let talked = session.and_then(|(mut socket, _)| {
                        (0..20).try_for_each(|_| {
                            pause();
                            caller::round_trip(&mut socket, &[7; 2_000])
                        })
                    });
                    if talked.is_err() {
                        pause();
                    }
                }
            });
        }
        Self { opens: all, callers }
    }

    fn finish(self) -> u64 {
        drop(self.callers.finish());
        self.opens.load(SeqCst)
    }
}

fn pause() {
    hold("a caller thinks", Duration::from_millis(100), || true);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
