//! Bytes arrive once and in order, or the session ends with an error: never a gap, never a repeat, never a quiet end.

use super::{
    super::callers::{End, Kind, Seen},
    Evidence, Finding,
};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let carried =
        || evidence.sessions.iter().map(|(seen, _)| seen).filter(|seen| seen.kind != Kind::Forbidden);
    let wrong = carried().filter_map(|seen: &Seen| match &seen.end {
        End::Wrong(what) => Some(format!("{:?} that began at {:.1?}: {what}", seen.kind, seen.begun)),
        End::Silent(how) => {
            Some(format!("{:?} ended at {:.1?} without an error: {how}", seen.kind, seen.ended))
        }
        End::Fine | End::Lost(_) => None,
    });
    let seen = format!("{} sessions, every byte", carried().count());
    Finding::new("bytes arrive once and in order, or the session ends with an error", seen, wrong.collect())
}
