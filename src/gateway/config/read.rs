//! From text to meaning, noting every mistake.

use std::{fs, ops::RangeInclusive, path::PathBuf, time::Duration};

use warren_core::{
    fields::{ConfigError, Fields, Problems, parse_duration, parse_yaml},
    trace::Otlp,
};
use warren_identity::{OperatorKey, tls::roots_from_pem};

use super::{GatewayConfig, OperatorKeySource, Overrides, StoreLocation};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read(
    origin: &str,
    text: &str,
    overrides: &Overrides,
    problems: &Problems,
) -> Result<GatewayConfig, ConfigError> {
    let mut root = Fields::root(parse_yaml(origin, text)?, problems);
    let mut config = GatewayConfig::default();

    let data_dir = root.text("data_dir").map(PathBuf::from);
    if let Some(folder) = overrides.data_dir.clone().or(data_dir) {
        config.data_dir = folder;
    }
    set(&mut config.listen, root.pick("listen", overrides.listen.as_deref()));
    config.public_url = root.pick("public_url", overrides.public_url.as_deref());
    config.internal_url = root.pick("internal_url", overrides.internal_url.as_deref());
    config.metrics = root.pick("metrics", overrides.metrics.as_deref());
    config.ready_file = overrides.ready_file.clone().or(root.text("ready_file").map(PathBuf::from));
    config.store = store(&mut root, &config, overrides);
    config.operator_key = operator_key(&mut root, &config, overrides);
    let drain = root.duration("drain");
    let forced = overrides.drain.as_deref().and_then(|text| {
        let parsed = parse_duration(text);
        if parsed.is_none() {
            root.note("drain", format!("`{text}` is not a time, expected such as 30s"));
        }
        parsed
    });
    set(&mut config.drain, forced.or(drain));
    config.threads = root.pick("threads", overrides.threads.as_deref());
    lasting(&mut root, "tunnel_wait", &mut config.tunnel_wait, Duration::ZERO..=MINUTE);
    lasting(&mut root, "certificate_lifetime", &mut config.certificate_lifetime, MINUTE..=90 * DAY);
    lasting(&mut root, "token_lifetime", &mut config.token_lifetime, MINUTE..=365 * DAY);

    let mut ingress = root.section("ingress");
    set(&mut config.ingress.host, ingress.pick("host", overrides.ingress_host.as_deref()));
    set(&mut config.ingress.ports, ingress.pick("ports", overrides.ingress_ports.as_deref()));
    ingress.finish();

    tunnel(root.section("tunnel"), &mut config);
    limits(root.section("limits"), &mut config);

    let mut log = root.section("log");
    set(&mut config.log.filter, log.pick("filter", overrides.log_filter.as_deref()));
    set(&mut config.log.format, log.pick("format", overrides.log_format.as_deref()));
    log.finish();

    let check_roots = |pem: &str| roots_from_pem(pem).map(drop);
    config.otlp =
        Otlp::read(root.section("otlp"), &overrides.otlp, |path| fs::read_to_string(path), check_roots);
    root.finish();
    Ok(config)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn store(root: &mut Fields<'_>, config: &GatewayConfig, overrides: &Overrides) -> StoreLocation {
    let store = root
        .pick("store", overrides.store.as_deref())
        .unwrap_or_else(|| StoreLocation::Sqlite(config.data_dir.join("gateway.db")));
    let file = root.text("store_password_file").map(PathBuf::from);
    let (file, text) = (overrides.store_password_file.clone().or(file), overrides.store_password.clone());
    match (store, text, file) {
        (StoreLocation::Postgres(url), Some(text), _) => StoreLocation::Postgres(url.with_password(text)),
        (StoreLocation::Postgres(url), None, Some(file)) => {
            StoreLocation::Postgres(url.with_password_file(file))
        }
        (store @ StoreLocation::Sqlite(_), None, Some(_)) => {
            root.note("store_password_file", "only a store in PostgreSQL has a password");
            store
        }
        (store, _, _) => store,
    }
}

fn operator_key(root: &mut Fields<'_>, config: &GatewayConfig, overrides: &Overrides) -> OperatorKeySource {
    let file = root.text("operator_key_file").map(PathBuf::from);
    if let Some(text) = &overrides.operator_key {
        if let Err(error) = OperatorKey::from_text(text) {
            root.note("WARREN_OPERATOR_KEY", error);
        }
        return OperatorKeySource::Text(text.clone());
    }
    let file = overrides.operator_key_file.clone().or(file);
    OperatorKeySource::File(file.unwrap_or_else(|| config.data_dir.join("operator.key")))
}

fn tunnel(mut section: Fields<'_>, config: &mut GatewayConfig) {
    let times = &mut config.tunnel;
    let bounds = Duration::from_millis(100)..=10 * MINUTE;
    lasting(&mut section, "ping", &mut times.ping, bounds.clone());
    lasting(&mut section, "suspect", &mut times.suspect, bounds.clone());
    lasting(&mut section, "dead", &mut times.dead, bounds.clone());
    lasting(&mut section, "echo", &mut times.echo, bounds);
    lasting(&mut section, "resume_within", &mut times.resume_within, Duration::ZERO..=10 * MINUTE);
    if times.ping >= times.suspect || times.suspect >= times.dead {
        section.note("dead", "ping must be shorter than suspect, and suspect shorter than dead");
    }
    section.finish();
}

fn limits(mut section: Fields<'_>, config: &mut GatewayConfig) {
    let limits = &mut config.limits;
    let count = |section: &mut Fields<'_>, key, field: &mut usize| {
        set(field, section.number(key, 1..=1_000_000).and_then(|number| usize::try_from(number).ok()));
    };
    count(&mut section, "handshakes", &mut limits.handshakes);
    count(&mut section, "connections", &mut limits.connections);
    count(&mut section, "tunnels", &mut limits.tunnels);
    count(&mut section, "sessions", &mut limits.sessions);
    let enrolments = section.number("enrolments", 1..=100_000);
    set(&mut limits.enrolments, enrolments.and_then(|number| u32::try_from(number).ok()));
    section.finish();
}

fn lasting(
    fields: &mut Fields<'_>,
    key: &'static str,
    field: &mut Duration,
    bounds: RangeInclusive<Duration>,
) {
    match fields.duration(key) {
        Some(time) if bounds.contains(&time) => *field = time,
        Some(_) => fields.note(key, format!("expected {:?} to {:?}", bounds.start(), bounds.end())),
        None => {}
    }
}
