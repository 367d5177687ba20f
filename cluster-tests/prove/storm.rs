//! A thousand agents lose their gateway at once: `prove storm --agents 1000`. How soon they are back, what callers see, and
//! what it costs the gateway.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use warren_cluster_tests::{Site, eventually, hold, http, opens::Opens, target};

mod herd;

use herd::{Counts, Herd};

/// Of whom a process holds so many: each takes about a dozen open files.
const HERD_MAX: usize = 250;
/// Resources that callers open sessions to meanwhile, each in a group of its own.
const CALLED: usize = 10;
const CALL_EVERY: Duration = Duration::from_millis(100);
/// Agents enrol at the pace of the gateway's limit.
const ENROLLED_WITHIN: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(240);
/// Between storms: until tunnels count as stable, and waits begin anew.
const CALM: Duration = Duration::from_secs(25);

#[derive(Debug, Parser)]
#[command(name = "prove storm", about = "Many agents lose their gateway at once")]
struct Args {
    /// Agents, each with two tunnels
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Members of each group
    #[arg(long, default_value_t = 1)]
    per_group: usize,
    /// Storms of each kind
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// For how many seconds the gateway is away
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10, 60])]
    away: Vec<u64>,
}

pub(crate) fn prove(args: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(["prove storm".to_owned()].into_iter().chain(args));
    let mut field = Field::start(&args);
    for &away in &args.away {
        for round in 1..=args.rounds {
            println!("{}", field.storm(Duration::from_secs(away), round));
        }
    }
    ExitCode::SUCCESS
}

/// A gateway, all its agents, and the resources that are called.
struct Field {
    site: Site,
    herds: Vec<Herd>,
    wanted: Counts,
    called: Vec<SocketAddr>,
}

impl Field {
    fn start(args: &Args) -> Self {
        let site = Site::builder().start();
        let groups = args.agents.div_ceil(args.per_group);
        let mut tokens = String::new();
        for number in 0..groups {
            let group = format!("site-{number}");
            site.run(&["groups", "create", &group]).ok();
            let token = site.token_of(&group, &["--max-uses", &args.per_group.to_string()]);
            writeln!(tokens, "{token}").expect("a text takes lines");
        }
        let (file, dir) = (site.path("tokens"), site.path("herds"));
        fs::create_dir_all(&dir).expect("the site's directory can be written");
        fs::write(&file, tokens).expect("the site's directory can be written");
        let began = Instant::now();
        let herd = |first: usize| {
            let count = HERD_MAX.min(args.agents - first);
            Herd::start(&site.url(), &site.ca(), &file, &dir, first, count)
        };
        let herds: Vec<Herd> = (0..args.agents).step_by(HERD_MAX).map(herd).collect();
        let agents = u64::try_from(args.agents).expect("a count");
        let wanted = Counts { agents, reached: agents, tunnels: 2 * agents };
        let mut field = Self { site, herds, wanted, called: Vec::new() };
        eventually("all agents have their tunnels", ENROLLED_WITHIN, || {
            (field.counts() == field.wanted).then_some(())
        });
        println!(
            "{} agents in {groups} groups, {} processes: enrolled and connected after {:.1?}; gateway {}",
            args.agents,
            field.herds.len(),
            began.elapsed(),
            mib(field.site.gateway.resident_bytes())
        );
        let echo = target::echo().to_string();
        for number in 0..CALLED.min(groups) {
            let group = format!("site-{number}");
            let create = ["resources", "create", "echo", "--group", &group, "--target", &echo];
            let made = field.site.json(&create);
            let listen = made["listen"].as_str().and_then(|listen| listen.parse().ok());
            field.called.push(listen.expect("a resource has an address"));
        }
        field
    }

    fn storm(&mut self, away: Duration, round: usize) -> String {
        let idle = cpu_seconds(self.site.gateway.id());
        hold("calm between storms", CALM, || true);
        let idle = (cpu_seconds(self.site.gateway.id()) - idle) / CALM.as_secs_f64();
        let before = self.site.gateway.resident_bytes();
        let calls: Vec<Opens> = self.called.iter().map(|at| Opens::start(*at, 1, CALL_EVERY)).collect();
        hold("callers are under way", Duration::from_secs(1), || true);
        self.site.kill_gateway();
        eventually("all have lost it", Duration::from_secs(10), || {
            (self.counts().reached == 0).then_some(())
        });
        hold("the gateway is away", away, || true);
        self.site.restart_gateway();
        let back = Instant::now();

        let mut curve = Curve::default();
        let mut peak = 0;
        eventually("all are back", BACK_WITHIN, || {
            let counts = self.counts();
            curve.note(back.elapsed(), counts, self.wanted);
            peak = peak.max(self.site.gateway.resident_bytes());
            (counts == self.wanted).then_some(())
        });
        let cpu = cpu_seconds(self.site.gateway.id());
        hold("callers go on", Duration::from_secs(2), || true);
        let opens: Vec<_> =
            calls.into_iter().flat_map(Opens::finish).filter(|open| open.begun > back).collect();
        let failed = opens.iter().filter(|open| open.outcome.is_err());
        let last = failed.clone().map(|open| (open.begun - back).as_secs_f64()).fold(0.0, f64::max);
        let metrics = http::metrics(self.site.gateway.address("metrics"));
        format!(
            "away {} s, round {round}: agents back 50 % {:.1?}, 99 % {:.1?}, all {:.1?}, all tunnels {:.1?}; most in 1 s {}; \
             opens from the start on {}, failed {}, the last {last:.1} s after it; turned away {:.0}; \
             gateway {cpu:.2} s of CPU for it ({idle:.2} a second before), {} before, {} at most",
            away.as_secs(),
            curve.half,
            curve.most,
            curve.all,
            curve.tunnels,
            curve.busiest(),
            opens.len(),
            failed.count(),
            http::sum(&metrics, "warren_gateway_rejected_total", "").abs(),
            mib(before),
            mib(peak)
        )
    }

    fn counts(&mut self) -> Counts {
        self.herds.iter_mut().map(Herd::counts).fold(Counts::default(), Counts::plus)
    }
}

/// How agents come back.
#[derive(Debug, Default)]
struct Curve {
    points: Vec<(Duration, u64)>,
    half: Duration,
    most: Duration,
    all: Duration,
    tunnels: Duration,
}

impl Curve {
    fn note(&mut self, at: Duration, seen: Counts, wanted: Counts) {
        self.points.push((at, seen.reached));
        let reached = |mark: &mut Duration, share: u64| {
            if *mark == Duration::ZERO && seen.reached * 100 >= wanted.reached * share {
                *mark = at;
            }
        };
        reached(&mut self.half, 50);
        reached(&mut self.most, 99);
        reached(&mut self.all, 100);
        self.tunnels = at;
    }

    /// Agents that came back within one second, at most.
    fn busiest(&self) -> u64 {
        let within = |&(at, reached): &(Duration, u64)| {
            let later =
                self.points.iter().take_while(|(then, _)| *then <= at + Duration::from_secs(1)).last();
            later.map_or(0, |(_, then)| then.saturating_sub(reached))
        };
        self.points.iter().map(within).max().unwrap_or(0)
    }
}

/// Of a process, user and system, since it was started.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted from behind the name in brackets, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
