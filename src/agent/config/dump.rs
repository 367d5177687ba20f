//! The effective configuration, for people.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{AgentConfig, Token};

pub(super) fn dump(config: &AgentConfig) -> String {
    let live = &config.live;
    let mut root = BTreeMap::from([
        ("data_dir", json!(config.data_dir)),
        ("gateways", config.gateways.iter().map(|url| Value::String(url.to_string())).collect()),
        ("name", json!(config.name)),
        ("peer_listen", json!(config.peer_listen)),
        ("tunnels", json!(config.tunnels)),
        ("resume_within", json!(time(config.resume_within))),
        ("profile", json!(config.profile.as_str())),
        ("veto", json!({"allow": live.veto.allow, "deny": live.veto.deny})),
        ("drain", json!(time(live.drain))),
        ("dial_timeout", json!(time(live.dial_timeout))),
        ("probe", json!({"interval": time(live.probe_interval), "timeout": time(live.probe_timeout)})),
        ("otlp", config.otlp.dump()),
        ("limits", json!({"sessions": config.sessions_max, "pending_dials": config.pending_dials_max})),
    ]);
    let optional = [
        ("ca", config.ca.as_ref().map(|path| json!(path))),
        ("extra_ca", (!config.extra_ca.is_empty()).then(|| json!(config.extra_ca))),
        ("proxy", config.way.dump()),
        (
            "token",
            config.token.as_ref().and_then(Token::file).map(|path| json!(format!("@{}", path.display()))),
        ),
        ("peer_advertise", config.peer_advertise.as_ref().map(|place| json!(place))),
        ("threads", config.threads.map(|threads| json!(threads.count()))),
        ("metrics", config.metrics.map(|address| json!(address))),
        ("log", live.log.as_ref().map(|filter| json!(filter))),
        (
            "kubernetes",
            config.kubernetes.as_ref().map(|kubernetes| {
                json!({"pod": kubernetes.pod.to_string(), "api": kubernetes.api, "account": kubernetes.account})
            }),
        ),
        ("app", config.app.as_ref().map(|app| json!({"host": app.target.host(), "port": app.target.port()}))),
    ];
    root.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
    serde_saphyr::to_string(&root).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// In the largest unit that tells it exactly.
fn time(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let exact = units.into_iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    exact.map_or_else(|| format!("{ms}ms"), |(size, unit)| format!("{}{unit}", ms / size))
}
