//! How it went: one object for programs, some lines for people.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::ledger::Totals;

/// Of failures that need telling, at most so many are.
const TOLD_MAX: usize = 5;

/// The shape is fixed: outside checks read it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) members: usize,
    /// Names here and in `spread` are agents' names.
    pub(super) leader: String,
    pub(super) revision: u64,
    pub(super) sessions: Sessions,
    pub(super) spread: BTreeMap<String, u64>,
    pub(super) first_session_after_kill_ms: u64,
    pub(super) config_after_kill_ms: u64,
    pub(super) returned_ms: u64,
    #[serde(skip)]
    pub(super) killed: String,
    #[serde(skip)]
    pub(super) unexcused: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    pub(super) opened: u64,
    pub(super) failed_open: u64,
    pub(super) cut_by_kill: u64,
}

impl From<&Totals> for Sessions {
    fn from(totals: &Totals) -> Self {
        Self { opened: totals.opened, failed_open: totals.failed_open, cut_by_kill: totals.cut_by_kill }
    }
}

impl Report {
    pub(super) fn for_people(&self) -> Vec<String> {
        let Sessions { opened, failed_open, cut_by_kill } = &self.sessions;
        let mut lines = vec![
            String::new(),
            format!("sessions opened            {opened}"),
            format!("could not be opened        {failed_open}"),
            format!("cut by the kill            {cut_by_kill}  (those that {} was carrying)", self.killed),
            format!("first session after it     {} ms", self.first_session_after_kill_ms),
            format!("first config change after  {} ms", self.config_after_kill_ms),
            format!("back after its restart     {} ms", self.returned_ms),
        ];
        lines.extend(self.unexcused.iter().take(TOLD_MAX).map(|why| format!("! {why}")));
        lines
    }
}

/// Whole milliseconds, rounded up: nothing that took time took none.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// The wall clock, which the demo shares with its processes.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_the_shape_of_the_contract() {
        let report = Report {
            members: 3,
            leader: "agent-1".into(),
            revision: 4,
            sessions: Sessions { opened: 9, failed_open: 0, cut_by_kill: 2 },
            spread: BTreeMap::from([("agent-1".into(), 5), ("agent-2".into(), 4)]),
            first_session_after_kill_ms: 3,
            config_after_kill_ms: 40,
            returned_ms: 900,
            killed: "agent-1".into(),
            unexcused: Vec::new(),
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"members":3,"leader":"agent-1","revision":4,"sessions":{"opened":9,"failed_open":0,"cut_by_kill":2},"spread":{"agent-1":5,"agent-2":4},"first_session_after_kill_ms":3,"config_after_kill_ms":40,"returned_ms":900}"#
        );
    }

    #[test]
    fn a_little_time_is_not_no_time() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(2_001)), 3);
        assert_eq!(millis(Duration::ZERO), 0);
    }
}
