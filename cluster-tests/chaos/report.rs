//! What a mix came to, as a table and as JSON.

use std::{fmt, path::PathBuf};

use serde_json::{Value, json};

use super::{Options, director::Events, evidence::Evidence, invariants::Finding, usage::Usage, world::World};

/// Holds the site until it is dropped.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    seconds: f64,
    events: Events,
    sessions: usize,
    calls: usize,
    /// What the director and the healing found.
    violations: Vec<String>,
    findings: Vec<Finding>,
    usage: (Usage, Option<Usage>),
    world: World,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        world: World,
        evidence: &Evidence,
        events: Events,
        violations: Vec<String>,
        findings: Vec<Finding>,
        usage: (Usage, Option<Usage>),
    ) -> Self {
        let (seed, seconds) = (options.seed, options.duration.as_secs_f64());
        let (sessions, calls) = (evidence.sessions.len(), evidence.told.entries.len());
        Self { seed, seconds, events, sessions, calls, violations, findings, usage, world }
    }

    /// Everything that went wrong; nothing did when it is empty.
    pub fn violations(&self) -> Vec<String> {
        let found = self.findings.iter().flat_map(|finding| {
            finding.violations.iter().map(|violation| format!("{}: {violation}", finding.invariant))
        });
        self.violations.iter().cloned().chain(found).collect()
    }

    /// Where the processes' directories are.
    pub fn home(&self) -> PathBuf {
        self.world.home()
    }

    pub fn to_json(&self) -> Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                let Finding { invariant, seen, violations } = finding;
                json!({"invariant": invariant, "seen": seen, "violations": violations})
            })
            .collect();
        json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "faults": self.events.begun,
            "passed_over": self.events.passed_over,
            "sessions": self.sessions,
            "config_calls": self.calls,
            "invariants": findings,
            "other_violations": self.violations,
            "usage_before": held(Some(&self.usage.0)),
            "usage_after": held(self.usage.1.as_ref()),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, events, sessions, calls, .. } = self;
        writeln!(
            f,
            "seed {seed}, {seconds:.0} s: {} faults, {} passed over",
            events.begun, events.passed_over
        )?;
        writeln!(f, "{sessions} sessions, {calls} config calls")?;
        for Finding { invariant, seen, violations } in &self.findings {
            let verdict = if violations.is_empty() {
                "holds".to_owned()
            } else {
                format!("{} times not", violations.len())
            };
            writeln!(f, "| {invariant} | {verdict} | {seen} |")?;
        }
        let tell = |usage: &Usage| {
            let held = usage.0.iter();
            let told: Vec<_> = held
                .map(|(name, held)| format!("{name} {} MiB {} files", held.resident >> 20, held.files))
                .collect();
            told.join(", ")
        };
        writeln!(f, "held before: {}", tell(&self.usage.0))?;
        self.usage.1.iter().try_for_each(|after| writeln!(f, "held after: {}", tell(after)))?;
        self.violations().iter().try_for_each(|violation| writeln!(f, "VIOLATION {violation}"))
    }
}

fn held(usage: Option<&Usage>) -> Value {
    let processes = usage.into_iter().flat_map(|usage| &usage.0);
    processes
        .map(|(name, held)| (name.clone(), json!({"resident_bytes": held.resident, "files": held.files})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
