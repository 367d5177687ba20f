//! Grafana's dashboards and the alerts against a running group: a real Prometheus scrapes a gateway and three agents under
//! load, one fault after the other is made and healed, and every expression of every panel, annotation, variable and rule is
//! asked. It fails on one that does not parse or shows nothing, and on an alert that does not fire with its fault or does
//! not end with the cure. `GRAFANA_FRAMES=FILE` keeps what the panels showed, for `grafana/draw`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
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
    GROUP, Relay, Site, caller,
    crew::Crew,
    disk::SmallDisk,
    eventually, hold,
    relay::End,
    target,
    tls::Credentials,
    tunnel::{self, Hello, Tunnel},
};

use crate::server;
use prometheus::{Prometheus, Series};

mod boards;
mod prometheus;

/// What the rules wait before they fire; here as short as can be.
const PENDING: &str = "2s";
const SLOW: Duration = Duration::from_secs(60);
const CALLERS: usize = 12;
/// What shows nothing although all is well with the expression.
const EMPTY: [(&str, &str); 1] = [("customer", "the group here is of no customer")];
/// Alerts that no fault of this run brings about, and why; promtool fires them by made up series.
const UNFIRED: [(&str, &str); 8] = [
    ("WarrenMemberCutOff", "needs packets dropped between members only"),
    ("WarrenLeaderUnsteady", "needs five leaders in a quarter of an hour"),
    ("WarrenSlowDisk", "needs ten slow minutes"),
    ("WarrenTunnelsUnverified", "needs something between that carries nothing"),
    ("WarrenOpensFailingSlowly", "comes with the fast one, and stays for hours"),
    ("WarrenCertificateExpiring", "needs days"),
    ("WarrenCertificateEnds", "needs days"),
    ("WarrenVersionSkew", "needs two versions"),
];

pub(crate) fn prove() {
    assert!(rustix::process::geteuid().is_root(), "a small disk is mounted: run it as root");
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
    run.fill_disk();
    run.break_protocol();
    run.strangers();
    run.judge();
}

struct Run {
    site: Site,
    relay: Relay,
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
        let mut site = Site::builder().start();
        let relay = Relay::start(site.listen());
        let file = site.path("agent.yaml");
        fs::write(&file, "veto: {deny: [127.0.0.99/32]}\n").expect("the site's directory can be written");
        let config = server::path(&file);
        for number in 1..=3 {
            site.add_agent_through(&relay, &format!("agent-{number}"), &["--config", config]);
        }
        site.wait_for_members(3);
        let prometheus = Prometheus::start(&root().join("grafana/alerts/warren.yml"), PENDING);
        let echo = site.resource("echo", target::echo());
        let load = Load::start(echo);
        let (began, made) = (SystemTime::now(), Instant::now());
        let mut run = Self { site, relay, prometheus, began, echo, load, made, alerts: BTreeMap::new() };
        run.scrape();
        run
    }

    /// A process that was started anew has other ports.
    fn scrape(&mut self) {
        let gateway = vec![("gateway-1".to_owned(), self.site.gateway.address("metrics"))];
        self.prometheus.scrape("gateway", &gateway);
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
        self.prometheus.wait_for(&format!("{alert} ends"), &format!("absent({})", firing(alert)), SLOW);
        self.alerts.entry(alert).or_default().1 = Some(self.made.elapsed());
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

    fn calm(&self) {
        self.prometheus.wait_for("all are scraped", "sum(up) == 4", SLOW);
        hold("calm", Duration::from_secs(20), || true);
        // The machine's own disk may be as full as it likes.
        let fired =
            self.prometheus.now("ALERTS{alertname!=\"WarrenDiskNearlyFull\"}").expect("an expression");
        assert!(fired.is_empty(), "alerts while all is well: {fired:?}");
    }

    fn drain(&self) {
        self.site.run(&["agents", "drain", "agent-2"]).ok();
        let draining = "warren_gateway_members{status=\"draining\"} > 0";
        self.prometheus.wait_for("the drain is seen", draining, SLOW);
        self.site.run(&["agents", "enable", "agent-2"]).ok();
        self.site.wait_for_members(3);
    }

    fn edit(&self) {
        for number in 0..5 {
            self.site.resource(&format!("edit-{number}"), target::echo());
        }
    }

    fn cut_tunnels(&self) {
        for _ in 0..3 {
            self.relay.cut(End::Reset);
            hold("sessions go on", Duration::from_secs(3), || true);
        }
        self.site.wait_for_members(3);
    }

    fn lose_target(&mut self) {
        self.made = Instant::now();
        let refusing = self.site.resource("refusing", target::refusing());
        let denied = self.site.resource("denied", "127.0.0.99:5432");
        eventually("opens are refused and denied", SLOW, || {
            assert!(caller::ends_silently(refusing) && caller::ends_silently(denied));
            let found = self.prometheus.now(&firing("WarrenTargetsFailing")).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        self.fires("WarrenTargetsFailing");
        self.fires("WarrenResourceUnreachable");
        self.made = Instant::now();
        for name in ["refusing", "denied"] {
            self.site.run(&["resources", "delete", name, "--group", GROUP]).ok();
        }
        self.ends("WarrenResourceUnreachable");
    }

    fn kill_one(&mut self) {
        let leader = self.site.leader();
        // Callers that do not lose patience before their sessions are given up.
        let held: Vec<_> = (0..9).map(|_| caller::open_echo(self.echo).expect("all is well")).collect();
        self.kill(&[leader]);
        for alert in ["WarrenProcessDown", "WarrenMemberNoResponse", "WarrenGroupAtRisk"] {
            self.fires(alert);
        }
        self.restart(&[leader]);
        self.fires("WarrenSessionsLost");
        drop(held);
        for alert in ["WarrenProcessDown", "WarrenMemberNoResponse", "WarrenGroupAtRisk"] {
            self.ends(alert);
        }
    }

    fn kill_two(&mut self) {
        let leader = self.site.leader();
        let two = [leader, (leader + 1) % 3];
        self.kill(&two);
        self.fires("WarrenGroupNoQuorum");
        self.restart(&two);
        self.ends("WarrenGroupNoQuorum");
    }

    fn kill_all(&mut self) {
        self.kill(&[0, 1, 2]);
        self.fires("WarrenGroupDown");
        self.fires("WarrenOpensFailingFast");
        self.restart(&[0, 1, 2]);
        self.ends("WarrenGroupDown");
    }

    fn kill_gateway(&mut self) {
        self.made = Instant::now();
        self.site.kill_gateway();
        self.fires("WarrenAgentWithoutTunnel");
        self.made = Instant::now();
        self.site.restart_gateway();
        self.site.wait_for_members(3);
        self.scrape();
        self.ends("WarrenAgentWithoutTunnel");
    }

    /// One more member, on a small disk of its own.
    fn fill_disk(&mut self) {
        let disk = SmallDisk::over(&self.site.path("agent-4").join("data"), 16 << 10);
        self.site.add_agent_in(&disk.place(), "agent-4", &[]);
        self.site.wait_for_members(4);
        self.scrape();
        self.prometheus.wait_for("all are scraped", "sum(up) == 5", SLOW);
        self.made = Instant::now();
        disk.fill();
        let mut edits = 0;
        let full = firing("WarrenLogStopped");
        eventually("the log meets the full disk", SLOW, || {
            edits += 1;
            self.site.resource(&format!("full-{edits}"), target::echo());
            let found = self.prometheus.now(&full).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        for alert in ["WarrenLogStopped", "WarrenDiskNearlyFull", "WarrenConfigLag"] {
            self.fires(alert);
        }
        self.made = Instant::now();
        disk.free();
        for alert in ["WarrenLogStopped", "WarrenDiskNearlyFull", "WarrenConfigLag"] {
            self.ends(alert);
        }
        let fourth = self.site.agents.pop().expect("it was just added");
        self.site.run(&["agents", "revoke", &fourth.id]).ok();
        drop(fourth);
        self.scrape();
    }

    /// Somebody with an agent's credentials and a tunnel of his own making.
    fn break_protocol(&mut self) {
        self.site.run(&["groups", "create", "other"]).ok();
        let mut lent = self.site.start_agent("lent", &self.site.token_of("other", &[]), &[]);
        lent.process.ready();
        lent.process.kill();
        let credentials = Credentials::of_agent(&lent.data());
        let hello = Hello { boot: 0x5EED, epoch: 1, slot: 0 };
        let mut tunnel = Tunnel::connect(self.site.listen(), &credentials, hello).expect("a tunnel comes up");
        // The gateway may hang up before it has heard all of it.
        let _ = tunnel.say_raw(&tunnel::message(2, &tunnel::frame(99, 0, b"")));
        let counted = "warren_tunnel_protocol_errors_total > 0";
        self.prometheus.wait_for("the broken frame is counted", counted, SLOW);
        self.site.run(&["groups", "delete", "other", "--force"]).ok();
    }

    /// Noise at both ports.
    fn strangers(&mut self) {
        let peer = self.site.agents[0].process.address("peer");
        for address in [self.site.listen(), peer] {
            for _ in 0..10 {
                let mut socket = caller::connect(address).expect("the port is open");
                let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n");
            }
        }
        hold("it is scraped", Duration::from_secs(5), || true);
    }

    /// Every expression has something to show.
    fn judge(self) {
        let opens = self.load.finish();
        let seconds = self.began.elapsed().unwrap_or_default().as_secs();
        let mut wrong = Vec::new();
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
            let quiet = UNFIRED.iter().any(|(alert, _)| alert == name);
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
