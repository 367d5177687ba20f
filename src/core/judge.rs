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
//! time stays Suspect instead of swinging between the ends. A thing that was Up for a short time only needs twice as many
//! good looks as the time before, so that one which fails in bursts settles too, on the side of caution; after
//! [`CALM`] good looks it is trusted as before.

use crate::state::Verdict;

/// Bad looks in a row that make a thing Down.
pub const BAD_UNTIL_DOWN: u32 = 3;
/// Good looks in a row that make a thing Up again.
pub const GOOD_UNTIL_UP: u32 = 2;

/// The most that are asked of a thing that comes and goes.
pub const GOOD_UNTIL_UP_MAX: u32 = 16;
/// Good looks in a row that make past trouble forgotten.
pub const CALM: u32 = 20;

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    Good,
    Bad,
    /// Bad, and looking again will not change it (a rule forbids it): Down at once.
    Certain,
}

/// The judge of one thing. A thing is Up until seen otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    verdict: Verdict,
    bad_in_a_row: u32,
    good_in_a_row: u32,
    /// Good looks in a row that make it Up again.
    good_until_up: u32,
    /// It came back, and was not yet Up for long enough to forget that.
    returned: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self::resume(Verdict::Up)
    }
}

impl Judge {
    /// Starts from a verdict that was reached before, so that a restart of the judge changes nothing by itself.
    pub const fn resume(verdict: Verdict) -> Self {
        Self { verdict, bad_in_a_row: 0, good_in_a_row: 0, good_until_up: GOOD_UNTIL_UP, returned: false }
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
            (Evidence::Good, _) if self.good_in_a_row >= self.good_until_up => Verdict::Up,
            (_, unchanged) => unchanged,
        };
        let before = std::mem::replace(&mut self.verdict, judged);
        match (before, judged) {
            (Verdict::Up, Verdict::Up) if self.good_in_a_row >= CALM => {
                (self.good_until_up, self.returned) = (GOOD_UNTIL_UP, false);
            }
            (Verdict::Up, Verdict::Suspect | Verdict::Down) if self.returned => {
                self.good_until_up = (self.good_until_up * 2).min(GOOD_UNTIL_UP_MAX);
            }
            (Verdict::Suspect | Verdict::Down, Verdict::Up) => self.returned = true,
            _ => {}
        }
        (before != judged).then_some(judged)
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

    #[test]
    fn a_thing_that_fails_in_bursts_settles() {
        let mut judge = Judge::default();
        let changes = (0..1_000).map(|round| [Bad, Bad, Bad, Good, Good, Good, Good][round % 7]);
        let changes = changes.filter(|look| judge.observe(*look).is_some()).count();
        assert!(changes <= 9, "{changes} changes");
        assert_eq!(judge.verdict(), Verdict::Down);
        let until_up = (1..).find(|_| judge.observe(Good) == Some(Verdict::Up)).unwrap();
        assert!(until_up <= GOOD_UNTIL_UP_MAX, "{until_up}");
        (0..CALM).for_each(|_| _ = judge.observe(Good));
        let again: Vec<_> = [Bad, Bad, Bad, Good, Good].map(|look| judge.observe(look)).into();
        assert_eq!(again[4], Some(Verdict::Up), "calm for long enough, it is trusted as before");
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
