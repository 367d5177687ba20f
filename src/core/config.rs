//! What the members of a group agree on: the resources, and where sessions may go.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    destination::{Rules, Target},
    fields::{ConfigError, Fields, Problems, parse_yaml},
    id::Name,
};

/// The most resources that one group may have; the whole state travels in one snapshot and is watched by each gateway.
pub const RESOURCES_MAX: usize = 1_000;

/// The replicated configuration of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    #[serde(default)]
    pub resources: BTreeMap<Name, Resource>,
    /// Applies to every dial of every member, beside each site's own veto.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub destinations: Rules,
}

/// A named thing behind the firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    pub target: Target,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// How sessions of a resource are spread over the members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The better of two members drawn at random.
    #[default]
    P2c,
    RoundRobin,
    LeastSessions,
    /// The same caller to the same member.
    Sticky,
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::P2c, Self::RoundRobin, Self::LeastSessions, Self::Sticky];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P2c => "p2c",
            Self::RoundRobin => "round-robin",
            Self::LeastSessions => "least-sessions",
            Self::Sticky => "sticky",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a policy, expected p2c, round-robin, least-sessions or sticky")]
pub struct PolicyError(String);

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| PolicyError(text.to_owned()))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl GroupConfig {
    /// Reads a document as people write it (YAML or JSON); tells all mistakes at once.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let mut root = Fields::root(parse_yaml(origin, text)?, &problems);
        let resources = root.section("resources").entries();
        if resources.len() > RESOURCES_MAX {
            problems.note("resources", format!("{} resources, at most {RESOURCES_MAX} fit", resources.len()));
        }
        let resources =
            resources.into_iter().filter_map(|(name, value)| read_resource(&name, value, &problems));
        let resources = resources.collect();
        let mut destinations = root.section("destinations");
        let rules = Rules {
            allow: destinations.list("allow").unwrap_or_default(),
            deny: destinations.list("deny").unwrap_or_default(),
        };
        destinations.finish();
        root.finish();
        problems.into_result(origin, Self { resources, destinations: rules })
    }

    /// The document that [`Self::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    /// One line for each thing that differs, in a form for people: `+ resource db ...`.
    pub fn diff(&self, newer: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, old) in &self.resources {
            match newer.resources.get(name) {
                None => lines.push(format!("- resource {name} {old}")),
                Some(new) if new != old => {
                    lines.push(format!("- resource {name} {old}"));
                    lines.push(format!("+ resource {name} {new}"));
                }
                Some(_) => {}
            }
        }
        for (name, new) in newer.resources.iter().filter(|(name, _)| !self.resources.contains_key(name)) {
            lines.push(format!("+ resource {name} {new}"));
        }
        let rules = |rules: &Rules| {
            let allow = rules.allow.iter().map(|pattern| format!("allow {pattern}"));
            allow.chain(rules.deny.iter().map(|pattern| format!("deny {pattern}"))).collect::<Vec<_>>()
        };
        let (old, new) = (rules(&self.destinations), rules(&newer.destinations));
        lines.extend(old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}")));
        lines.extend(new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}")));
        lines
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target={} policy={}", self.target, self.policy)?;
        if self.description.is_empty() { Ok(()) } else { write!(f, " description={:?}", self.description) }
    }
}

fn read_resource(name: &str, value: Value, problems: &Problems) -> Option<(Name, Resource)> {
    let path = format!("resources.{name}");
    let mut fields = Fields::at(path.clone(), value, problems);
    let name = name.parse::<Name>().map_err(|error| problems.note(path, error)).ok();
    if !fields.has("target") {
        fields.note("target", "missing, expected HOST:PORT");
    }
    let target = fields.parse("target");
    let policy = fields.parse("policy").unwrap_or_default();
    let description = fields.text("description").unwrap_or_default();
    fields.finish();
    Some((name?, Resource { target: target?, policy, description }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "resources:\n  db:\n    target: db.corp:5432\n  web:\n    target: 10.0.0.2:80\n    \
                            policy: round-robin\n    description: intranet\ndestinations:\n  deny: [10.9.0.0/16]\n";

    #[test]
    fn a_document_reads_back_what_it_shows() {
        let config = GroupConfig::parse("t", DOCUMENT).unwrap();
        assert_eq!(config.resources.len(), 2);
        assert_eq!(GroupConfig::parse("t", &config.to_yaml()).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(GroupConfig::parse("t", &json).unwrap(), config);
        assert_eq!(serde_json::from_str::<GroupConfig>(&json).unwrap(), config);
    }

    #[test]
    fn every_mistake_is_named() {
        let text = "resources:\n  DB: {target: 'x:1'}\n  web: {policy: best}\n  ok: {target: 'a:1', tarket: 2}\nextra: 1\n";
        let error = GroupConfig::parse("site.yaml", text).unwrap_err().to_string();
        for part in [
            "resources.DB: `DB` is not a name",
            "resources.web.target: missing",
            "`best` is not a policy",
            "resources.ok.tarket: unknown key, did you mean `target`?",
            "extra: unknown key",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(error.starts_with("site.yaml: 5 mistakes"), "{error}");
    }

    #[test]
    fn a_diff_names_what_changed() {
        let old = GroupConfig::parse("t", DOCUMENT).unwrap();
        let mut new = old.clone();
        new.resources.remove("db".parse::<Name>().as_ref().unwrap());
        new.destinations.deny.clear();
        assert_eq!(old.diff(&new), ["- resource db target=db.corp:5432 policy=p2c", "- deny 10.9.0.0/16"]);
        assert!(old.diff(&old).is_empty());
    }
}
