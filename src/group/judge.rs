//! How a member judges another by its answers to pings.
//!
//! ```text
//!            3 misses in a row              4 s since the last answer
//!   Up ───────────────────────▶ Suspect ─────────────────────────────▶ Down
//!    ▲                             │                                     │
//!    └──── 2 answers in a row ─────┴─────────────────────────────────────┘
//! ```
//! One answer is not enough to return: a member that answers every other time stays where it is.

use std::time::Duration;

use tokio::time::Instant;

use warren_core::state::Verdict;

/// Misses in a row that make a member suspect.
pub(crate) const MISSES_TO_SUSPECT: u32 = 3;
/// Silence that makes it down.
pub(crate) const SILENCE_TO_DOWN: Duration = Duration::from_secs(4);
/// Answers in a row that bring it back.
pub(crate) const ANSWERS_TO_RETURN: u32 = 2;

/// What is known of one other member.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    verdict: Verdict,
    /// Since the last answer; or since it is watched, which gives a newcomer its time to start.
    silent_since: Instant,
    misses: u32,
    answers: u32,
}

impl Judge {
    pub(crate) fn new(now: Instant) -> Self {
        Self { verdict: Verdict::Up, silent_since: now, misses: 0, answers: 0 }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(crate) fn answered(&mut self, now: Instant) {
        self.silent_since = now;
        self.misses = 0;
        self.answers = self.answers.saturating_add(1);
        if self.answers >= ANSWERS_TO_RETURN {
            self.verdict = Verdict::Up;
        }
    }

    pub(crate) fn missed(&mut self, now: Instant) {
        self.answers = 0;
        self.misses = self.misses.saturating_add(1);
        if self.misses >= MISSES_TO_SUSPECT {
            let silent = now.duration_since(self.silent_since);
            let judged = if silent >= SILENCE_TO_DOWN { Verdict::Down } else { Verdict::Suspect };
            self.verdict = self.verdict.max(judged);
        }
    }

    /// Whether it counts for a quorum, as far as this member can tell.
    pub(crate) fn in_touch(&self) -> bool {
        self.verdict == Verdict::Up && self.misses < 2
    }
}

/// What a leader says of a member that it judges so itself and that `witnesses` others hear. Somebody who hears it
/// proves that it lives: then the path is cut, and it is not down.
pub(crate) fn weigh(own: Verdict, witnesses: usize) -> (Verdict, &'static str) {
    match (own, witnesses) {
        (Verdict::Up, _) => (Verdict::Up, "answers its peers"),
        (Verdict::Suspect, _) => (Verdict::Suspect, "does not answer the leader"),
        (Verdict::Down, 0) => (Verdict::Down, "silent to all members"),
        (Verdict::Down, _) => (Verdict::Suspect, "silent to the leader, heard by another member"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(500);

    /// Plays answers (`+`) and misses (`-`), half a second apart, and writes the verdict after each.
    fn play(script: &str) -> String {
        let mut now = Instant::now();
        let mut judge = Judge::new(now);
        let verdicts = script.chars().map(|outcome| {
            now += STEP;
            if outcome == '+' {
                judge.answered(now)
            } else {
                judge.missed(now)
            }
            match judge.verdict() {
                Verdict::Up => 'U',
                Verdict::Suspect => 's',
                Verdict::Down => 'D',
            }
        });
        verdicts.collect()
    }

    #[test]
    fn silence_makes_suspect_then_down_and_two_answers_return() {
        assert_eq!(play("++--------++"), "UUUUsssssDDU");
        assert_eq!(play("+---++"), "UUUssU");
    }

    #[test]
    fn alternating_evidence_does_not_flap() {
        assert_eq!(play("+-+-+-+-+-"), "UUUUUUUUUU");
        let after_down = play("----------+-+-+-+-");
        assert!(after_down.ends_with("DDDDDDDD"), "{after_down}");
    }

    #[test]
    fn a_newcomer_has_time_to_start() {
        assert_eq!(play("-------"), "UUsssss");
        assert_eq!(play("--------"), "UUsssssD");
    }

    #[test]
    fn a_witness_turns_down_into_suspect() {
        assert_eq!(weigh(Verdict::Down, 0).0, Verdict::Down);
        assert_eq!(weigh(Verdict::Down, 1).0, Verdict::Suspect);
        assert_eq!(weigh(Verdict::Up, 0).0, Verdict::Up);
    }

    #[test]
    fn a_member_that_missed_twice_is_not_counted_for_a_quorum() {
        let now = Instant::now();
        let mut judge = Judge::new(now);
        judge.missed(now);
        assert!(judge.in_touch());
        judge.missed(now);
        assert!(!judge.in_touch());
    }
}
