//! From file and overrides to a checked configuration.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};
use warren_core::{
    destination::{Rules, Target},
    fields::{ConfigError, Fields, Problem, Problems, parse_yaml},
    id::Name,
    trace::Otlp,
};
use warren_group::Profile;
use warren_identity::tls::roots_from_pem;

use super::{
    AgentConfig, App, DATA_DIR_DEFAULT, GatewayUrl, Live, Overrides, PEER_LISTEN_DEFAULT, Source,
    TUNNELS_MAX, Token, kubernetes, proxy,
};

/// Nobody dials link-local addresses on purpose, and clouds serve credentials there.
const VETO_DEFAULT: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

pub(super) fn load(source: Source) -> Result<AgentConfig, ConfigError> {
    let origin =
        source.file.as_ref().map_or_else(|| "agent settings".to_owned(), |path| path.display().to_string());
    let text = match &source.file {
        Some(path) => fs::read_to_string(path).map_err(|error| unreadable(&origin, &error))?,
        None => String::new(),
    };
    let mut root = parse_yaml(&origin, &text)?;
    if let Value::Object(map) = &mut root {
        overlay(map, &source.overrides);
    }
    let problems = Problems::default();
    let config = read(Fields::root(root, &problems), source);
    problems.into_result(&origin, config)
}

fn read(mut root: Fields<'_>, source: Source) -> AgentConfig {
    let gateways = read_gateways(&mut root);
    let name = read_name(&mut root);
    let config = AgentConfig {
        data_dir: root.text("data_dir").map_or_else(|| PathBuf::from(DATA_DIR_DEFAULT), PathBuf::from),
        gateways,
        ca: read_ca(&mut root),
        extra_ca: read_extra_ca(&mut root),
        way: proxy::read(&mut root, &source.overrides),
        token: root.text("token").map(Token::from),
        peer_listen: root.parse("peer_listen").unwrap_or_else(peer_listen_default),
        peer_advertise: root.parse::<Target>("peer_advertise"),
        metrics: root.parse("metrics"),
        tunnels: number(&mut root, "tunnels", 1..=TUNNELS_MAX, 2),
        threads: root.parse("threads"),
        resume_within: root.duration("resume_within").unwrap_or(Duration::from_secs(30)),
        profile: root.parse("profile").unwrap_or(Profile::Lan),
        app: read_app(&mut root, &name),
        otlp: read_otlp(&mut root, &source.overrides),
        kubernetes: kubernetes::read(&mut root, &source.overrides),
        name,
        live: read_live(&mut root),
        sessions_max: 0,
        pending_dials_max: 0,
        source,
    };
    let mut limits = root.section("limits");
    let sessions_max = number(&mut limits, "sessions", 1..=1_000_000, 16_384);
    let pending_dials_max = number(&mut limits, "pending_dials", 1..=65_536, 1_024);
    limits.finish();
    root.finish();
    AgentConfig { sessions_max, pending_dials_max, ..config }
}

fn read_live(root: &mut Fields<'_>) -> Live {
    let mut veto = root.section("veto");
    let deny = veto.list("deny").unwrap_or_else(|| {
        VETO_DEFAULT.iter().map(|text| text.parse().expect("the default patterns are patterns")).collect()
    });
    let veto_rules = Rules { allow: veto.list("allow").unwrap_or_default(), deny };
    veto.finish();
    let mut probe = root.section("probe");
    let probe_interval = time(&mut probe, "interval", Duration::from_secs(10));
    let probe_timeout = time(&mut probe, "timeout", Duration::from_secs(3));
    if probe_timeout > probe_interval {
        probe.note("timeout", "longer than the interval, so that probes would overlap");
    }
    probe.finish();
    Live {
        veto: veto_rules,
        drain: root.duration("drain").unwrap_or(Duration::from_secs(30)),
        dial_timeout: time(root, "dial_timeout", Duration::from_secs(5)),
        probe_interval,
        probe_timeout,
        log: root.text("log"),
    }
}

fn read_otlp(root: &mut Fields<'_>, overrides: &Overrides) -> Otlp {
    let check_roots = |pem: &str| roots_from_pem(pem).map(drop);
    Otlp::read(root.section("otlp"), &overrides.otlp, |path| fs::read_to_string(path), check_roots)
}

fn read_gateways(root: &mut Fields<'_>) -> Vec<GatewayUrl> {
    let problems = root.problems();
    let mut gateways = Vec::new();
    let given = root.has("gateways");
    let texts = root.list::<String>("gateways");
    // A value that is no list has been noted by then.
    if !given || texts.as_ref().is_some_and(Vec::is_empty) {
        root.note("gateways", "missing, give at least one such as https://gateway.example.com");
    }
    let texts = texts.unwrap_or_default();
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(gateway) => gateways.push(gateway),
            Err(error) => problems.note(format!("gateways[{index}]"), error),
        }
    }
    gateways
}

fn read_name(root: &mut Fields<'_>) -> String {
    const LENGTH_MAX: usize = 253;
    match root.text("name") {
        Some(name) if name.trim().is_empty() || name.len() > LENGTH_MAX => {
            root.note("name", format!("expected 1 to {LENGTH_MAX} bytes"));
            name
        }
        Some(name) => name.trim().to_owned(),
        None => host_name(),
    }
}

fn read_ca(root: &mut Fields<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(root.text("ca")?);
    if let Err(problem) = check_roots(&path) {
        root.note("ca", problem);
    }
    Some(path)
}

fn read_extra_ca(root: &mut Fields<'_>) -> Vec<PathBuf> {
    let files = root.list::<PathBuf>("extra_ca").unwrap_or_default();
    for (index, path) in files.iter().enumerate() {
        if let Err(problem) = check_roots(path) {
            root.note(&format!("extra_ca[{index}]"), problem);
        }
    }
    files
}

fn check_roots(path: &Path) -> Result<(), String> {
    let pem =
        fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let roots = roots_from_pem(&pem);
    roots.map(drop).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn read_app(root: &mut Fields<'_>, name: &str) -> Option<App> {
    if !root.has("app") {
        // Known all the same, for the hints on misspelt keys.
        root.take("app");
        return None;
    }
    let mut app = root.section("app");
    let host = app.text("host");
    let has_port = app.has("port");
    let port = app.number("port", 1..=u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok());
    if host.is_none() {
        app.note("host", "missing, the quick start needs host and port (APP_HOST, APP_PORT)");
    }
    if !has_port {
        app.note("port", "missing, the quick start needs host and port (APP_HOST, APP_PORT)");
    }
    let slug = Name::slug(name).map_err(|error| app.note("host", error)).ok();
    let target = match (host, port) {
        (Some(host), Some(port)) => Target::new(&host, port).map_err(|error| app.note("host", error)).ok(),
        _ => None,
    };
    app.finish();
    Some(App { name: slug?, target: target? })
}

/// A time above zero.
fn time(fields: &mut Fields<'_>, key: &'static str, default: Duration) -> Duration {
    match fields.duration(key) {
        Some(Duration::ZERO) => {
            fields.note(key, "must be above zero");
            default
        }
        given => given.unwrap_or(default),
    }
}

fn number(
    fields: &mut Fields<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<u64>,
    default: usize,
) -> usize {
    fields.number(key, bounds).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

fn peer_listen_default() -> SocketAddr {
    PEER_LISTEN_DEFAULT.parse().expect("the default is an address")
}

fn host_name() -> String {
    let known = told_host_name().map(|name| name.trim().to_owned()).unwrap_or_default();
    if known.is_empty() { "agent".to_owned() } else { known }
}

#[cfg(unix)]
fn told_host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    files.iter().find_map(|file| fs::read_to_string(file).ok())
}

#[cfg(windows)]
fn told_host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

fn unreadable(origin: &str, error: &std::io::Error) -> ConfigError {
    let problems = vec![Problem { path: String::new(), message: format!("cannot be read: {error}") }];
    ConfigError { origin: origin.to_owned(), problems }
}

/// Puts the overrides over the file's values, where they are read and checked like them.
fn overlay(root: &mut Map<String, Value>, overrides: &Overrides) {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let texts = [
        ("data_dir", path(&overrides.data_dir)),
        ("ca", path(&overrides.ca)),
        ("token", overrides.token.as_ref().map(|token| token.0.clone())),
        ("name", overrides.name.clone()),
        ("peer_listen", overrides.peer_listen.clone()),
        ("peer_advertise", overrides.peer_advertise.clone()),
        ("metrics", overrides.metrics.clone()),
        ("profile", overrides.profile.clone()),
        ("drain", overrides.drain.clone()),
        ("threads", overrides.threads.clone()),
        ("log", overrides.log.clone()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            root.insert(key.to_owned(), Value::String(text));
        }
    }
    if let Some(tunnels) = &overrides.tunnels {
        root.insert("tunnels".to_owned(), number_or_text(tunnels));
    }
    if !overrides.gateways.is_empty() {
        root.insert("gateways".to_owned(), overrides.gateways.clone().into());
    }
    if let Some(pod) = &overrides.pod {
        let section = root.entry("kubernetes").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(section) = section {
            section.insert("pod".to_owned(), Value::String(pod.clone()));
        }
    }
    if overrides.app_host.is_some() || overrides.app_port.is_some() {
        let app = root.entry("app").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(app) = app {
            app.extend(overrides.app_host.clone().map(|host| ("host".to_owned(), Value::String(host))));
            app.extend(overrides.app_port.as_ref().map(|port| ("port".to_owned(), number_or_text(port))));
        }
    }
}

fn number_or_text(text: &str) -> Value {
    text.trim().parse::<u64>().map_or_else(|_| Value::String(text.to_owned()), Value::from)
}
