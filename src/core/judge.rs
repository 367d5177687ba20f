//! Judging one thing by repeated looks at it, without flapping.
//!
//! ```text
//!            bad                 third bad in a row
//!   ┌────┐ ───────▶ ┌─────────┐ ───────────────────▶ ┌──────┐
//!   │ Up │          │ Suspect │                      │ Down │
//!   └────┘ ◀─────── └─────────┘                      └──────┘
//!      ▲  second good in a row                          │
//!      └────────────────────────────────────────────────┘
//! ```
//! Runs are consecutive: one good look among bad ones starts the count anew, so that a thing which answers every other
//! time stays Suspect instead of swinging between the ends.

use crate::state::Verdict;

/// Bad looks in a row that make a thing Down.
pub const BAD_UNTIL_DOWN: u32 = 3;
/// Good looks in a row that make a thing Up again.
pub const GOOD_UNTIL_UP: u32 = 2;

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    Good,
    Bad,
    /// Bad, and looking again will not change it (a rule forbids it): Down at once.
    Certain,
}

/// The judge of one thing. A thing is Up until seen otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judge {
    verdict: Verdict,
    bad_in_a_row: u32,
    good_in_a_row: u32,
}

impl Judge {
    /// Starts from a verdict that was reached before, so that a restart of the judge changes nothing by itself.
    pub const fn resume(verdict: Verdict) -> Self {
        Self { verdict, bad_in_a_row: 0, good_in_a_row: 0 }
    }

    /// Takes one look into account; gives the new verdict if it changed.
    pub fn observe(&mut self, evidence: Evidence) -> Option<Verdict> {
        match evidence {
            Evidence::Good => {
                self.bad_in_a_row = 0;
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
            }
            Evidence::Bad | Evidence::Certain => {
                self.good_in_a_row = 0;
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
            }
        }
        let judged = match (evidence, self.verdict) {
            (Evidence::Certain, _) => Verdict::Down,
            (Evidence::Bad, _) if self.bad_in_a_row >= BAD_UNTIL_DOWN => Verdict::Down,
            (Evidence::Bad, Verdict::Up) => Verdict::Suspect,
            (Evidence::Good, _) if self.good_in_a_row >= GOOD_UNTIL_UP => Verdict::Up,
            (_, unchanged) => unchanged,
        };
        let changed = judged != self.verdict;
        self.verdict = judged;
        changed.then_some(judged)
    }

    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the next look could change the verdict: worth looking sooner.
    pub const fn is_undecided(&self) -> bool {
        matches!(self.verdict, Verdict::Suspect)
            || matches!(self.verdict, Verdict::Down) && self.good_in_a_row > 0
    }
}

#[cfg(test)]
mod tests {
    use Evidence::{Bad, Certain, Good};
    use proptest::prelude::*;

    use super::*;

    fn after(looks: &[Evidence]) -> Verdict {
        let mut judge = Judge::default();
        looks.iter().for_each(|look| _ = judge.observe(*look));
        judge.verdict()
    }

    #[test]
    fn three_bad_in_a_row_are_down_and_two_good_up_again() {
        assert_eq!(after(&[]), Verdict::Up);
        assert_eq!(after(&[Bad]), Verdict::Suspect);
        assert_eq!(after(&[Bad, Bad]), Verdict::Suspect);
        assert_eq!(after(&[Bad, Bad, Bad]), Verdict::Down);
        assert_eq!(after(&[Bad, Bad, Bad, Good]), Verdict::Down);
        assert_eq!(after(&[Bad, Bad, Bad, Good, Good]), Verdict::Up);
        assert_eq!(after(&[Bad, Good]), Verdict::Suspect);
        assert_eq!(after(&[Bad, Good, Good]), Verdict::Up);
    }

    #[test]
    fn a_rule_is_believed_at_once() {
        assert_eq!(after(&[Certain]), Verdict::Down);
        assert_eq!(after(&[Good, Certain, Good]), Verdict::Down);
    }

    #[test]
    fn only_changes_are_told() {
        let mut judge = Judge::default();
        let told: Vec<_> = [Good, Bad, Bad, Bad, Bad, Good, Good].map(|look| judge.observe(look)).into();
        let (suspect, down, up) = (Some(Verdict::Suspect), Some(Verdict::Down), Some(Verdict::Up));
        assert_eq!(told, [None, suspect, None, down, None, None, up]);
    }

    #[test]
    fn a_resumed_judge_keeps_its_verdict_until_the_run_is_full() {
        let mut judge = Judge::resume(Verdict::Down);
        assert_eq!(judge.observe(Good), None);
        assert!(judge.is_undecided());
        assert_eq!(judge.observe(Good), Some(Verdict::Up));
        assert!(!judge.is_undecided());
    }

    proptest! {
        #[test]
        fn alternating_looks_never_flap(rounds in 1_usize..50) {
            let mut judge = Judge::default();
            judge.observe(Bad);
            for _ in 0..rounds {
                prop_assert_eq!(judge.observe(Good), None);
                prop_assert_eq!(judge.observe(Bad), None);
            }
            prop_assert_eq!(judge.verdict(), Verdict::Suspect);
        }
    }
}
