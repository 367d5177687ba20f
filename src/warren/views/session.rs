//! Sessions, each with the record of how its member was chosen.

use serde::Serialize;
use warren_wire::v1;

use super::{Moment, some};
use crate::output::{Page, Row, View};

#[derive(Debug, Serialize)]
pub(crate) struct Session {
    id: String,
    group: String,
    resource: String,
    caller: String,
    member: Option<String>,
    member_name: Option<String>,
    opened: Moment,
    closed: Moment,
    bytes_up: u64,
    bytes_down: u64,
    outcome: String,
    detail: String,
    trace: String,
    gateway: Option<String>,
    attempts: Vec<Attempt>,
}

/// One try to open the session through a member.
#[derive(Debug, Serialize)]
struct Attempt {
    chosen: Option<String>,
    rule: String,
    result: String,
    /// From the caller's coming until it began.
    after_us: u64,
    took_us: u64,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    member: String,
    score: f64,
    sessions: u32,
    excluded: Option<String>,
}

impl From<v1::Session> for Session {
    fn from(session: v1::Session) -> Self {
        Self {
            id: session.id,
            group: session.group,
            resource: session.resource,
            caller: session.caller,
            member: some(session.member),
            member_name: some(session.member_name),
            opened: Moment::from_millis(session.opened_ms),
            closed: Moment::from_millis(session.closed_ms),
            bytes_up: session.bytes_up,
            bytes_down: session.bytes_down,
            outcome: session.outcome,
            detail: session.detail,
            trace: session.trace,
            gateway: some(session.gateway),
            attempts: session.attempts.into_iter().map(Attempt::from).collect(),
        }
    }
}

impl From<v1::Attempt> for Attempt {
    fn from(attempt: v1::Attempt) -> Self {
        let candidate = |v1::Candidate { member, score, sessions, excluded }| Candidate {
            member,
            score,
            sessions,
            excluded: some(excluded),
        };
        Self {
            chosen: some(attempt.chosen),
            rule: attempt.rule,
            result: attempt.result,
            after_us: attempt.after_us,
            took_us: attempt.took_us,
            candidates: attempt.candidates.into_iter().map(candidate).collect(),
        }
    }
}

impl Row for Session {
    const COLUMNS: &'static [&'static str] =
        &["ID", "RESOURCE", "CALLER", "MEMBER", "OPENED", "UP", "DOWN", "OUTCOME", "TRIES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            format!("{}/{}", self.group, self.resource),
            self.caller.clone(),
            self.member_name.clone().or_else(|| self.member.clone()).unwrap_or_default(),
            self.opened.ago(),
            bytes(self.bytes_up),
            bytes(self.bytes_down),
            self.outcome.clone(),
            self.attempts.len().to_string(),
        ]
    }
}

impl View for Session {
    fn page(&self, page: &mut Page) {
        page.field("session", &self.id);
        page.field("resource", format!("{}/{}", self.group, self.resource));
        page.field("caller", &self.caller);
        let member = match (&self.member_name, &self.member) {
            (Some(name), Some(id)) => format!("{name} ({id})"),
            (_, id) => id.clone().unwrap_or_else(|| "none took it".into()),
        };
        page.field("member", member);
        page.field("opened", self.opened.full());
        page.field("closed", self.closed.full());
        page.field("caller to target", bytes(self.bytes_up));
        page.field("target to caller", bytes(self.bytes_down));
        page.field("outcome", &self.outcome);
        page.field("detail", &self.detail);
        page.field("trace", &self.trace);
        page.field("gateway", self.gateway.as_deref().unwrap_or("unknown"));
        let rows = self.attempts.iter().enumerate().flat_map(|(number, attempt)| attempt.rows(number + 1));
        page.table(&["TRY", "MEMBER", "SCORE", "SESSIONS", "DECISION", "TOOK"], rows);
    }
}

impl Attempt {
    /// One row for each candidate of the attempt, the chosen one marked with its rule and result.
    fn rows(&self, number: usize) -> Vec<Vec<String>> {
        let took = format!("{:.1} ms", self.took_us as f64 / 1e3);
        let chosen_row = |score: String, sessions: String| {
            let decision = format!("chosen by {}: {}", self.rule, self.result);
            let member = self.chosen.clone().unwrap_or_default();
            vec![number.to_string(), member, score, sessions, decision, took.clone()]
        };
        let mut rows = Vec::new();
        for candidate in &self.candidates {
            let (score, sessions) = (format!("{:.2}", candidate.score), candidate.sessions.to_string());
            if Some(&candidate.member) == self.chosen.as_ref() {
                rows.push(chosen_row(score, sessions));
                continue;
            }
            let decision =
                candidate.excluded.as_ref().map(|why| format!("left out: {why}")).unwrap_or_default();
            let member = candidate.member.clone();
            rows.push(vec![number.to_string(), member, score, sessions, decision, String::new()]);
        }
        if rows.iter().all(|row| row[5].is_empty()) {
            rows.push(chosen_row(String::new(), String::new()));
        }
        rows
    }
}

/// A size in the largest binary unit that keeps it above one.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let candidate = |member: &str, excluded: &str| v1::Candidate {
            member: member.into(),
            score: 1.5,
            sessions: 2,
            excluded: excluded.into(),
        };
        let attempt = v1::Attempt {
            candidates: vec![candidate("agt-1", ""), candidate("agt-2", "draining")],
            chosen: "agt-1".into(),
            rule: "p2c".into(),
            result: "ok".into(),
            took_us: 900,
            after_us: 6_000_000,
        };
        let session = v1::Session {
            id: "7".into(),
            outcome: "open".into(),
            attempts: vec![attempt],
            ..Default::default()
        };
        Session::from(session)
    }

    #[test]
    fn the_decision_record_is_there_for_programs() {
        let value = serde_json::to_value(session()).unwrap();
        assert_eq!(value["attempts"][0]["rule"], "p2c");
        assert_eq!(value["attempts"][0]["after_us"], 6_000_000);
        assert_eq!(value["attempts"][0]["candidates"][1]["excluded"], "draining");
        assert!(value["member"].is_null() && value["closed"].is_null());
    }

    #[test]
    fn people_read_who_was_chosen_and_who_was_left_out() {
        let mut page = Page::new(false);
        session().page(&mut page);
        let text = page.finish();
        assert!(text.contains("chosen by p2c: ok") && text.contains("left out: draining"), "{text}");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(1 << 40), "1.0 TiB");
    }
}
