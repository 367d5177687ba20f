//! A group's configuration, its history, and what differs between two of its revisions.

use serde::Serialize;
use serde_json::Value;
use warren_wire::v1;

use super::Moment;
use crate::output::{Page, Row, View};

/// The config of one revision. People get the document as it is edited, programs its content.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDocument {
    pub(crate) group: String,
    pub(crate) revision: u64,
    pub(crate) config: Value,
    #[serde(skip)]
    pub(crate) document: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct HistoryEntry {
    revision: u64,
    author: String,
    at: Moment,
    diff: Vec<String>,
}

/// One line for each thing that differs, `-` before and `+` after.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDiff {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) diff: Vec<String>,
}

impl View for ConfigDocument {
    fn page(&self, page: &mut Page) {
        page.lines(self.document.lines());
    }
}

impl View for ConfigDiff {
    fn page(&self, page: &mut Page) {
        page.lines(&self.diff);
    }
}

impl From<v1::HistoryEntry> for HistoryEntry {
    fn from(entry: v1::HistoryEntry) -> Self {
        let v1::HistoryEntry { revision, author, at_ms, diff, document: _ } = entry;
        Self { revision, author, at: Moment::from_millis(at_ms), diff }
    }
}

impl Row for HistoryEntry {
    const COLUMNS: &'static [&'static str] = &["REVISION", "WHEN", "AUTHOR", "CHANGE"];

    fn cells(&self) -> Vec<String> {
        vec![self.revision.to_string(), self.at.ago(), self.author.clone(), self.diff.join("\n")]
    }
}
