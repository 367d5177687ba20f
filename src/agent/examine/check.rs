//! One check, and what all of them come to.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

/// What is looked at, in the order of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// The file, flags and environment.
    Settings,
    /// The data folder can be used.
    Folder,
    /// Room on its disk.
    Space,
    /// How long its disk takes to sync.
    Sync,
    /// Who this agent is, or the token to become somebody.
    Identity,
    /// The roots that may vouch for gateways.
    Roots,
    /// Directly, or through which proxy.
    Way,
    /// The first stop's name resolves.
    Name,
    /// The first stop takes connections.
    Tcp,
    /// The proxy lets us through.
    Proxy,
    /// A gateway's certificate, and who vouches for it.
    Tls,
    /// What the gateway says to this agent.
    Answer,
    /// This machine's clock against the gateway's.
    Clock,
    /// The agent that runs here.
    Agent,
    /// The group's other members, as that agent sees them.
    Peers,
    /// One target.
    Target,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Ok,
    /// It works, and somebody should see to it.
    Warn,
    Failed,
    /// Not looked at; what was seen says why.
    Skipped,
}

/// One thing that was looked at. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: Hop,
    /// Whose: a gateway's URL, a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    pub status: Status,
    pub seen: String,
    /// How long that took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
    pub ms: Option<Duration>,
    /// What to do; always there when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// It failed because a gateway cannot be reached.
    #[serde(skip)]
    pub(super) is_away: bool,
}

/// What all checks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Warnings may be among them.
    Fine,
    Failed,
    WrongSettings,
    /// A gateway cannot be reached.
    GatewayAway,
}

/// All checks; what `warren doctor` prints as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    /// No check failed.
    pub ok: bool,
}

impl Report {
    pub(super) fn new(checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.status != Status::Failed);
        Self { checks, ok }
    }

    /// Wrong settings say the most, since nothing else was looked at; then a gateway that is away.
    pub fn outcome(&self) -> Outcome {
        match self.failed().next() {
            None => Outcome::Fine,
            Some(first) if first.name == Hop::Settings => Outcome::WrongSettings,
            Some(_) if self.failed().any(|check| check.is_away) => Outcome::GatewayAway,
            Some(_) => Outcome::Failed,
        }
    }

    /// Those that failed, in order: the first is where to begin.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Failed)
    }
}

impl Check {
    pub(super) fn ok(name: Hop, seen: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, seen)
    }

    pub(super) fn warn(name: Hop, seen: impl Into<String>) -> Self {
        Self::new(name, Status::Warn, seen)
    }

    pub(super) fn failed(name: Hop, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(name, Status::Failed, seen).advise(advice)
    }

    pub(super) fn skipped(name: Hop, why: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, why)
    }

    fn new(name: Hop, status: Status, seen: impl Into<String>) -> Self {
        Self { name, of: None, status, seen: seen.into(), ms: None, advice: None, is_away: false }
    }

    pub(super) fn of(mut self, whose: impl fmt::Display) -> Self {
        self.of = Some(whose.to_string());
        self
    }

    pub(super) fn took(mut self, time: Duration) -> Self {
        self.ms = Some(time);
        self
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// A gateway that this failed for cannot be reached.
    pub(super) fn away(mut self) -> Self {
        self.is_away = self.status == Status::Failed;
        self
    }
}

impl Hop {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Folder => "folder",
            Self::Space => "space",
            Self::Sync => "sync",
            Self::Identity => "identity",
            Self::Roots => "roots",
            Self::Way => "way",
            Self::Name => "name",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Answer => "answer",
            Self::Clock => "clock",
            Self::Agent => "agent",
            Self::Peers => "peers",
            Self::Target => "target",
        }
    }
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One decimal: what is measured here is not truer than that.
fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let ms = time.unwrap_or_default().as_secs_f64() * 1_000.0;
    serializer.serialize_f64((ms * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(checks: Vec<Check>) -> (bool, Outcome) {
        let report = Report::new(checks);
        (report.ok, report.outcome())
    }

    #[test]
    fn what_failed_decides_and_warnings_do_not() {
        let (ok, warn) = (Check::ok(Hop::Folder, ""), Check::warn(Hop::Sync, ""));
        let failed = |hop| Check::failed(hop, "", "");
        let skipped = Check::skipped(Hop::Tls, "");
        assert_eq!(outcome(vec![ok.clone(), warn, skipped]), (true, Outcome::Fine));
        assert_eq!(outcome(vec![ok.clone(), failed(Hop::Target)]), (false, Outcome::Failed));
        let away = failed(Hop::Tcp).away();
        assert_eq!(outcome(vec![failed(Hop::Identity), ok, away]), (false, Outcome::GatewayAway));
        assert_eq!(outcome(vec![failed(Hop::Settings)]), (false, Outcome::WrongSettings));
        assert_eq!(outcome(vec![Check::warn(Hop::Clock, "").away()]), (true, Outcome::Fine));
    }

    #[test]
    fn programs_read_the_words_that_people_see() {
        let check = Check::ok(Hop::Tcp, "x").of("https://gw:443").took(Duration::from_micros(1_260));
        let text = serde_json::to_string(&Report::new(vec![check])).unwrap();
        let expected = r#"{"checks":[{"name":"tcp","of":"https://gw:443","status":"ok","seen":"x","ms":1.3}],"ok":true}"#;
        assert_eq!(text, expected);
        for hop in [Hop::Settings, Hop::Target] {
            assert_eq!(serde_json::to_value(hop).unwrap(), hop.as_str());
        }
        assert_eq!(serde_json::to_value(Status::Failed).unwrap(), Status::Failed.as_str());
    }
}
