//! Where an agent may connect to: targets, and the rules that allow or deny them.
//!
//! Two sets of rules guard every dial, the group's replicated one and the site's own file. Both must allow.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Address that a resource is reached at: a host name or IP address, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    host: String,
    port: u16,
}

/// Why a text is not a target or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DestinationError {
    #[error("`{0}` is not a target, expected HOST:PORT such as db.corp:5432 or [fd00::1]:443")]
    Target(String),
    #[error(
        "`{0}` is not a pattern, expected a CIDR, an address, a host name or *.suffix, with :PORT or :LOW-HIGH if wanted"
    )]
    Pattern(String),
}

impl Target {
    /// A host name (at most 253 bytes) or an address without brackets, and a port above zero.
    pub fn new(host: &str, port: u16) -> Result<Self, DestinationError> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if port == 0 || !(is_host_name(&host) || host.parse::<IpAddr>().is_ok()) {
            return Err(DestinationError::Target(format!("{host}:{port}")));
        }
        Ok(Self { host, port })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Target {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let refused = || DestinationError::Target(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(refused)?,
            None if host.contains(':') => return Err(refused()),
            None => host,
        };
        Self::new(bare, port.parse().map_err(|_| refused())?).map_err(|_| refused())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One line of an allow or deny list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    host: HostPattern,
    /// Lowest and highest port, both included.
    ports: (u16, u16),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum HostPattern {
    Any,
    Net(IpNet),
    Name(String),
    /// `*.corp`: every name below `corp`, not `corp` itself.
    Below(String),
}

impl Pattern {
    /// Whether the pattern speaks of this dial. `address` is what the host resolved to, once that is known.
    pub fn matches(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if port < self.ports.0 || port > self.ports.1 {
            return false;
        }
        let literal = host.parse::<IpAddr>().ok();
        match &self.host {
            HostPattern::Any => true,
            HostPattern::Net(net) => address.or(literal).is_some_and(|ip| net.contains(&canonical(ip))),
            HostPattern::Name(name) => host.eq_ignore_ascii_case(name),
            HostPattern::Below(suffix) => literal.is_none() && is_below(host, suffix),
        }
    }
}

impl FromStr for Pattern {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let refused = || DestinationError::Pattern(text.to_owned());
        let (host, ports) = split_ports(text).ok_or_else(refused)?;
        let host = host.to_ascii_lowercase();
        let host = if host == "*" {
            HostPattern::Any
        } else if let Ok(net) = host.parse::<IpNet>() {
            HostPattern::Net(net.trunc())
        } else if let Ok(ip) = host.parse::<IpAddr>() {
            HostPattern::Net(IpNet::from(ip))
        } else if let Some(suffix) = host.strip_prefix("*.").filter(|suffix| is_host_name(suffix)) {
            HostPattern::Below(suffix.to_owned())
        } else if is_host_name(&host) {
            HostPattern::Name(host)
        } else {
            return Err(refused());
        };
        Ok(Self { host, ports })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Net(net) => net.to_string(),
            HostPattern::Name(name) => name.clone(),
            HostPattern::Below(suffix) => format!("*.{suffix}"),
        };
        let host = if host.contains(':') && self.ports != ALL_PORTS { format!("[{host}]") } else { host };
        match self.ports {
            ALL_PORTS => f.write_str(&host),
            (low, high) if low == high => write!(f, "{host}:{low}"),
            (low, high) => write!(f, "{host}:{low}-{high}"),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Allow and deny lists. A deny always wins; an empty allow list allows what is not denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Pattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Pattern>,
}

/// What a set of rules says about one dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    Allowed,
    /// A deny pattern matched.
    Denied(Pattern),
    /// There is an allow list and nothing on it matched.
    NotListed,
}

impl Rules {
    /// Judges one dial. Call it with every resolved address: a name that is fine may point to an address that is not.
    pub fn judge(&self, target: &Target, address: IpAddr) -> Ruling {
        let hit = |pattern: &&Pattern| pattern.matches(&target.host, Some(address), target.port);
        if let Some(pattern) = self.deny.iter().find(hit) {
            return Ruling::Denied(pattern.clone());
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| hit(&pattern)) {
            return Ruling::Allowed;
        }
        Ruling::NotListed
    }

    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

const ALL_PORTS: (u16, u16) = (1, u16::MAX);

/// An IPv4 address in IPv6 clothes must meet the IPv4 rules.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn is_below(host: &str, suffix: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

fn is_host_name(text: &str) -> bool {
    let label_fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253
        && text.split('.').all(label_fits)
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Splits `host`, `host:port`, `host:low-high`, `[v6]:port`; a bare IPv6 address or net has no ports.
fn split_ports(text: &str) -> Option<(&str, (u16, u16))> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail {
            "" => Some((host, ALL_PORTS)),
            _ => Some((host, parse_ports(tail.strip_prefix(':')?)?)),
        };
    }
    match text.matches(':').count() {
        0 => Some((text, ALL_PORTS)),
        1 => text.split_once(':').and_then(|(host, ports)| Some((host, parse_ports(ports)?))),
        _ => Some((text, ALL_PORTS)),
    }
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low > 0 && low <= high).then_some((low, high))
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Target, Pattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Rules { allow: parse(allow), deny: parse(deny) }
    }

    fn allowed(rules: &Rules, target: &str, address: &str) -> bool {
        rules.judge(&target.parse().unwrap(), address.parse().unwrap()) == Ruling::Allowed
    }

    #[test]
    fn targets_read_back_what_they_show() {
        for text in ["db.corp:5432", "10.0.0.7:80", "[fd00::1]:443", "localhost:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "db", "db:0", "db:70000", "fd00::1:443", "-x:1", "a b:1", "1.2.3:80", "[db:80"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_read_back_what_they_show() {
        for text in
            ["*", "10.0.0.0/8", "10.0.0.0/8:5432", "*.corp:80-90", "db.corp", "fd00::/8", "[fd00::/8]:443"]
        {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for text in ["", "a*b", "*.", "10.0.0.0/33", "db:0", "db:9-3", "[::1"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let rules = rules(&["10.0.0.0/8"], &["10.1.0.0/16"]);
        assert!(allowed(&rules, "10.2.0.1:80", "10.2.0.1"));
        assert!(!allowed(&rules, "10.1.0.1:80", "10.1.0.1"));
        assert!(!allowed(&rules, "11.0.0.1:80", "11.0.0.1"));
    }

    #[test]
    fn a_name_that_points_into_a_denied_net_is_denied() {
        let rules = rules(&[], &["169.254.0.0/16"]);
        assert!(allowed(&rules, "db.corp:80", "10.0.0.1"));
        assert!(!allowed(&rules, "db.corp:80", "169.254.169.254"));
        assert!(!allowed(&rules, "db.corp:80", "::ffff:169.254.169.254"));
    }

    #[test]
    fn a_suffix_matches_names_below_it_only() {
        let rules = rules(&["*.corp:5432"], &[]);
        assert!(allowed(&rules, "db.corp:5432", "10.0.0.1"));
        assert!(!allowed(&rules, "db.corp:22", "10.0.0.1"));
        assert!(!allowed(&rules, "corp:5432", "10.0.0.1"));
        assert!(!allowed(&rules, "evilcorp:5432", "10.0.0.1"));
    }
}
