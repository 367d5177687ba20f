//! The effective configuration as a file that reads back the same.

use std::{path::Path, time::Duration};

use serde_json::{Map, Value, json};

use super::{GatewayConfig, OperatorKeySource, StoreLocation};

pub(super) fn yaml(config: &GatewayConfig) -> String {
    serde_saphyr::to_string(&tree(config)).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

fn tree(config: &GatewayConfig) -> Value {
    let mut root = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        root.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("data_dir", Some(path(&config.data_dir)));
    put("listen", Some(json!(config.listen)));
    put("public_url", config.public_url.as_ref().map(|url| json!(url.to_string())));
    put("internal_url", config.internal_url.as_ref().map(|url| json!(url.to_string())));
    put("metrics", config.metrics.map(|address| json!(address)));
    put("ready_file", config.ready_file.as_deref().map(path));
    put("store", Some(json!(config.store.to_string())));
    let password_file = match &config.store {
        StoreLocation::Postgres(url) => url.password_file(),
        StoreLocation::Sqlite(_) => None,
    };
    put("store_password_file", password_file.map(|file| path(file)));
    put(
        "operator_key_file",
        match &config.operator_key {
            OperatorKeySource::File(file) => Some(path(file)),
            OperatorKeySource::Text(_) => None,
        },
    );
    let ingress = &config.ingress;
    put("ingress", Some(json!({"host": ingress.host, "ports": ingress.ports.to_string()})));
    put("certificate_lifetime", Some(time(config.certificate_lifetime)));
    put("token_lifetime", Some(time(config.token_lifetime)));
    put("drain", Some(time(config.drain)));
    put("threads", config.threads.map(|threads| json!(threads.count())));
    put("tunnel_wait", Some(time(config.tunnel_wait)));
    let tunnel = &config.tunnel;
    put(
        "tunnel",
        Some(json!({
            "ping": time(tunnel.ping),
            "suspect": time(tunnel.suspect),
            "dead": time(tunnel.dead),
            "echo": time(tunnel.echo),
            "resume_within": time(tunnel.resume_within),
        })),
    );
    let limits = &config.limits;
    put(
        "limits",
        Some(json!({
            "handshakes": limits.handshakes,
            "connections": limits.connections,
            "tunnels": limits.tunnels,
            "sessions": limits.sessions,
            "enrolments": limits.enrolments,
        })),
    );
    put("log", Some(json!({"filter": config.log.filter, "format": config.log.format.as_str()})));
    put("otlp", Some(config.otlp.dump()));
    Value::Object(root)
}

fn path(path: &Path) -> Value {
    json!(path.display().to_string())
}

fn time(time: Duration) -> Value {
    let seconds = time.as_secs();
    let text = match (time.subsec_millis(), seconds) {
        (0, 1..) if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        (0, 1..) if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        (0, _) => format!("{seconds}s"),
        _ => format!("{}ms", time.as_millis()),
    };
    json!(text)
}
