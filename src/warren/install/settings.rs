//! The settings that the service is to have: those that are there, and what was given now over them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Map, Value};
use warren_agent::{AgentConfig, Overrides};
use warren_core::fields::{ConfigError, parse_yaml};

use super::{
    flags::InstallArgs,
    place::{COUNTS, Place},
};
use crate::exit::Failure;

/// What the agent is to run with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) text: String,
    /// Keys whose value changes, with both values; empty when nothing was there.
    pub(super) changes: Vec<String>,
    pub(super) data_dir: PathBuf,
    /// The root that vouches for the gateways, if one was given.
    pub(super) ca: Option<Vec<u8>>,
}

/// Puts what was given over the text that is there, and has the agent's own reader check it.
pub(super) fn settle(place: &Place, args: &InstallArgs, there: Option<&str>) -> anyhow::Result<Settings> {
    let origin = place.config().display().to_string();
    let old = object(&origin, there.unwrap_or_default())?;
    let mut given = match &args.config {
        Some(path) => {
            let text =
                fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let mut given = object(&path.display().to_string(), &text)?;
            whole_paths(&mut given);
            given
        }
        None => Map::new(),
    };
    overlay(&mut given, args, &old);
    let ca = ca(place, args, &old, &mut given)?;
    let mut merged = old.clone();
    merged.extend(given);
    if place.instance.is_some() {
        merged.entry("data_dir").or_insert_with(|| place.data_dir().display().to_string().into());
        if !merged.contains_key("peer_listen") {
            let told = "an instance needs a port of its own for the group's other members: --peer-listen";
            return Err(Failure::usage(told).into());
        }
    }
    let checked = check(&merged, args.site.ca.as_deref().filter(|_| ca.is_some()))?;
    if args.site.token.as_ref().is_some_and(|token| !token.is_empty()) {
        merged.insert("token".to_owned(), format!("@{}", place.token().display()).into());
    }
    let changes = if old.is_empty() { Vec::new() } else { changes(&old, &merged) };
    let text = match there {
        // With the comments that people wrote.
        Some(there) if old == merged => there.to_owned(),
        _ => {
            let yaml =
                serde_saphyr::to_string(&Value::Object(merged)).context("cannot write the settings")?;
            format!("{}{yaml}", header())
        }
    };
    Ok(Settings { text, changes, data_dir: checked.data_dir, ca })
}

fn header() -> String {
    format!(
        "\
# Settings of this agent; every key: docs/settings.md. Written by `warren agent install`, which changes only the keys
# that it is given. Edit it as you like: {COUNTS}.
"
    )
}

/// The data folder that settings name.
pub(super) fn data_dir(place: &Place, text: &str) -> anyhow::Result<PathBuf> {
    let settings = object(&place.config().display().to_string(), text)?;
    let named = settings.get("data_dir").and_then(Value::as_str).map(PathBuf::from);
    Ok(named.unwrap_or_else(|| place.data_dir()))
}

fn overlay(given: &mut Map<String, Value>, args: &InstallArgs, old: &Map<String, Value>) {
    let texts = [
        ("name", args.site.name.clone()),
        ("proxy", args.site.proxy.clone().filter(|url| !url.is_empty())),
        ("data_dir", args.site.data_dir.as_deref().map(absolute).map(|path| path.display().to_string())),
        ("peer_listen", args.site.peer_listen.clone()),
        ("peer_advertise", args.site.peer_advertise.clone()),
        ("metrics", args.site.metrics.clone()),
    ];
    given.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into()))));
    if !args.site.gateways.is_empty() {
        given.insert("gateways".to_owned(), args.site.gateways.clone().into());
    }
    let port = args.site.app_port.as_ref();
    let port = port.map(|port| port.parse::<u64>().map_or_else(|_| port.clone().into(), Value::from));
    let app = [("host", args.site.app_host.clone().map(Value::from)), ("port", port)];
    let app: Map<_, _> = app.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    if !app.is_empty() {
        let known = given.get("app").or_else(|| old.get("app"));
        let mut whole = known.and_then(Value::as_object).cloned().unwrap_or_default();
        whole.extend(app);
        given.insert("app".to_owned(), whole.into());
    }
}

/// The service stands in another folder than whoever brings settings along.
fn whole_paths(given: &mut Map<String, Value>) {
    let whole = |path: &str| absolute(Path::new(path)).display().to_string();
    let in_header = |text: &str| {
        let file =
            text.split_once('=').and_then(|(name, value)| Some((name, value.trim().strip_prefix('@')?)));
        file.map_or_else(|| text.to_owned(), |(name, path)| format!("{name}=@{}", whole(path)))
    };
    let change = |value: &mut Value, is_header: bool| {
        if let Value::String(text) = value {
            *text = if is_header { in_header(text) } else { whole(text) };
        }
    };
    let places = [
        ("extra_ca", "", false),
        ("proxy", "/password_file", false),
        ("otlp", "/ca", false),
        ("otlp", "/headers", true),
    ];
    for (key, inner, is_header) in places {
        match given.get_mut(key).and_then(|value| value.pointer_mut(inner)) {
            Some(Value::Array(items)) => items.iter_mut().for_each(|item| change(item, is_header)),
            Some(single) => change(single, is_header),
            None => {}
        }
    }
}

/// The root's text, and its copy as the setting. One that the settings name already is used where it stands.
fn ca(
    place: &Place,
    args: &InstallArgs,
    old: &Map<String, Value>,
    given: &mut Map<String, Value>,
) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = args.site.ca.as_deref() else { return Ok(None) };
    let named = old.get("ca").and_then(Value::as_str).map(Path::new);
    if named == Some(&absolute(path)) {
        return Ok(None);
    }
    let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    given.insert("ca".to_owned(), place.ca().display().to_string().into());
    Ok(Some(text))
}

/// As the agent will read it, but for the root, which is not in its place yet.
fn check(settings: &Map<String, Value>, ca: Option<&Path>) -> anyhow::Result<AgentConfig> {
    let mut settings = settings.clone();
    if let Some(ca) = ca {
        settings.insert("ca".to_owned(), ca.display().to_string().into());
    }
    let yaml = serde_saphyr::to_string(&Value::Object(settings)).context("cannot write the settings")?;
    let draft = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    fs::write(draft.path(), yaml).context("cannot write a temporary file")?;
    let read = AgentConfig::load(Some(draft.path()), Overrides::default());
    // The draft's name says nothing to anybody.
    read.map_err(|error| ConfigError { origin: "agent settings".to_owned(), ..error }.into())
}

fn changes(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let shown = |key: &str, value: Option<&Value>| match value {
        None => "nothing".to_owned(),
        // It may hold a password.
        Some(_) if matches!(key, "proxy" | "token") => "(not shown)".to_owned(),
        Some(value) if value.get("headers").is_some() => "(not shown)".to_owned(),
        Some(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    };
    let differing = new.iter().filter(|(key, value)| *key != "token" && old.get(*key) != Some(*value));
    differing
        .map(|(key, value)| format!("{key}: {} -> {}", shown(key, old.get(key)), shown(key, Some(value))))
        .collect()
}

fn object(origin: &str, text: &str) -> anyhow::Result<Map<String, Value>> {
    match parse_yaml(origin, text)? {
        Value::Object(map) => Ok(map),
        _ => Err(Failure::usage(format!("{origin}: not a file of settings, expected KEY: VALUE")).into()),
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
