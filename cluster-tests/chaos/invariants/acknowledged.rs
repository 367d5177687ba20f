//! No acknowledged config change is lost, none is made twice, none that was refused is made: the history is linearizable.

use super::{Evidence, Finding};

const INVARIANT: &str = "no acknowledged config change is lost, and history is linearizable";

pub(super) fn check(evidence: &Evidence) -> Finding {
    match evidence.told.check() {
        Ok(sound) => {
            let seen = format!(
                "{} edits made, {} stale, {} refused, {} unknown of which {} made; {} reads, at most {} revisions behind",
                sound.written,
                sound.stale,
                sound.refused,
                sound.unknown,
                sound.unknown_made,
                sound.seen,
                sound.behind_max
            );
            Finding::new(INVARIANT, seen, Vec::new())
        }
        Err(unsound) => Finding::new(
            INVARIANT,
            format!("{} calls", evidence.told.entries.len()),
            vec![unsound.to_string()],
        ),
    }
}
