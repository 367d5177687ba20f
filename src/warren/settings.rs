//! Keeps `docs/settings.md` equal to what the two configuration files can hold.
//!
//! The example sets every key, so the dump of what it is read as has them all; the table must have the same, and its
//! defaults must be those of an empty file.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use warren_agent::AgentConfig;
use warren_core::fields::parse_yaml;
use warren_gateway::GatewayConfig;

use crate::readme::between;

/// Keys without which nothing starts, or whose default is the machine's.
const NO_COMMON_DEFAULT: [&str; 2] = ["gateways", "name"];

#[test]
fn the_page_has_the_gateways_keys() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| GatewayConfig::parse("docs", text, &Default::default()).unwrap().dump();
    check("gateway", &read(&with_files(example("gateway"), folder.path())), &read(""));
}

#[test]
fn the_page_has_the_agents_keys() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let file = folder.path().join("agent.yaml");
        fs::write(&file, text).unwrap();
        AgentConfig::load(Some(&file), Default::default()).unwrap().dump()
    };
    check(
        "agent",
        &read(&with_files(example("agent"), folder.path())),
        &read("gateways: [https://gateway]\n"),
    );
}

/// The same with files of its own in place of those that are looked into when it is read.
fn with_files(example: String, folder: &Path) -> String {
    let (ca, secret) = (folder.join("ca.pem"), folder.join("secret"));
    let authority = warren_identity::Authority::generate(std::time::SystemTime::now()).unwrap();
    fs::write(&ca, authority.bundle_pem()).unwrap();
    fs::write(&secret, "secret").unwrap();
    let files = [("ca.pem", &ca), ("inspection.pem", &ca), ("collector.pem", &ca)];
    let files = files.into_iter().chain([("proxy.password", &secret), ("collector.token", &secret)]);
    files.fold(example, |text, (name, path)| {
        text.replace(&format!("/etc/warren/{name}"), &path.display().to_string())
    })
}

fn check(server: &str, whole: &str, defaults: &str) {
    let rows = rows(&between(&page(), &format!("keys of warren {server}")));
    let keys = leaves(whole).into_keys().collect::<Vec<_>>();
    let mut listed = rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    listed.sort();
    assert_eq!(listed, keys, "the table of docs/settings.md, and the keys that its example has");
    let defaults = leaves(defaults);
    for key in defaults.keys() {
        assert!(listed.contains(key), "`{key}` has a default and is not in docs/settings.md");
    }
    for (key, told) in rows {
        let default = defaults.get(&key).filter(|value| !value.is_empty());
        match default {
            Some(_) if NO_COMMON_DEFAULT.contains(&key.as_str()) => {}
            Some(value) => assert_eq!(told, format!("`{value}`"), "default of `{key}`"),
            // Whatever is told in words, such as "none".
            None => assert!(!told.is_empty(), "default of `{key}`"),
        }
    }
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md")).unwrap()
}

fn example(server: &str) -> String {
    let block = between(&page(), &format!("file of warren {server}"));
    block.trim().strip_prefix("```yaml").unwrap().strip_suffix("```").unwrap().to_owned()
}

/// Key and default of each row.
fn rows(table: &str) -> Vec<(String, String)> {
    let cells = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.trim_matches('`').to_owned(), cells.next()?.to_owned()))
    };
    table.lines().skip(2).filter_map(cells).collect()
}

/// Every value under its dotted key.
fn leaves(yaml: &str) -> BTreeMap<String, String> {
    fn gather(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    gather(
                        &if path.is_empty() { key.clone() } else { format!("{path}.{key}") },
                        value,
                        found,
                    );
                }
            }
            Value::Array(items) => {
                let items = items.iter().map(text).collect::<Vec<_>>();
                found.insert(path.to_owned(), items.join(", "));
            }
            single => {
                found.insert(path.to_owned(), text(single));
            }
        }
    }
    let mut found = BTreeMap::new();
    gather("", &parse_yaml("dump", yaml).unwrap(), &mut found);
    found
}
