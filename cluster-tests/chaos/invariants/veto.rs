//! Nothing reaches a destination that the replicated config and the site's veto do not both allow, be it by a caller or by a probe.

use super::{
    super::callers::{End, Kind},
    Evidence, Finding,
};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let tries = || evidence.sessions.iter().map(|(seen, _)| seen).filter(|seen| seen.kind == Kind::Forbidden);
    let mut violations: Vec<_> = tries()
        .filter_map(|seen| match &seen.end {
            End::Wrong(what) => Some(format!("at {:.1?} {what}", seen.begun)),
            End::Fine | End::Lost(_) | End::Silent(_) => None,
        })
        .collect();
    if evidence.tripped > 0 {
        violations.push(format!("{} connections came where none may", evidence.tripped));
    }
    Finding::new(
        "nothing reaches what the config or the site's veto deny",
        format!("{} tries", tries().count()),
        violations,
    )
}
