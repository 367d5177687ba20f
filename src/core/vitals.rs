//! How a member does by its own account: processor, memory, open files, disk.
//!
//! Readings are used and limit; the verdict follows from the part that is used, with a margin on the way back, so that a
//! value which swings around a mark changes nothing:
//!
//! ```text
//!   Up ── at its mark ──▶ Suspect ── at its mark ──▶ Down
//!   Up ◀── 5 points below ── Suspect ◀── 5 points below ── Down
//! ```
//! Suspect is for people to see. A member whose files or memory are Down is given a session only when no other is left;
//! a full disk stops edits, not sessions, and a busy processor shows in how long opens take.

use crate::state::Verdict;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vital {
    /// Processor time of the machine, of the last half minute.
    Cpu,
    /// Memory of the machine or of the container.
    Memory,
    /// Open file descriptors of the process.
    Files,
    /// The file system of the data directory.
    Disk,
}

/// One thing as it was read; a limit of 0 means that it could not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    pub used: u64,
    pub limit: u64,
    pub verdict: Verdict,
    /// Milliseconds since the Unix epoch, by the member's clock.
    pub since_ms: u64,
}

/// All readings of one member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    pub cpu: Reading,
    pub memory: Reading,
    pub files: Reading,
    pub disk: Reading,
}

/// On the way back, a mark counts until the reading is this far below it, thousandths.
const MARGIN: u64 = 50;
/// More than everything: never reached.
const NEVER: u64 = u64::MAX;

impl Vital {
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Files, Self::Disk];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Files => "files",
            Self::Disk => "disk",
        }
    }

    /// Thousandths in use that make it Suspect, and Down.
    const fn marks(self) -> (u64, u64) {
        match self {
            Self::Cpu => (950, NEVER),
            Self::Memory => (900, 970),
            Self::Files => (800, 950),
            Self::Disk => (900, 980),
        }
    }
}

impl Reading {
    /// Thousandths in use.
    pub fn permille(&self) -> u64 {
        let part = u128::from(self.used) * 1_000 / u128::from(self.limit.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

impl Vitals {
    /// Takes in a new reading of one thing; gives its verdict if that changed. A limit of 0 says that it could not be read: then it
    /// is what it was, since whatever is short may be why.
    pub fn read(&mut self, vital: Vital, used: u64, limit: u64, now_ms: u64) -> Option<Verdict> {
        let reading = self.of_mut(vital);
        let before = reading.verdict;
        (reading.used, reading.limit) = (used, limit);
        if limit > 0 {
            reading.verdict = judge(vital, reading.permille(), before);
        }
        if reading.verdict != before || reading.since_ms == 0 {
            reading.since_ms = now_ms;
        }
        (reading.verdict != before).then_some(reading.verdict)
    }

    pub const fn of(&self, vital: Vital) -> &Reading {
        match vital {
            Vital::Cpu => &self.cpu,
            Vital::Memory => &self.memory,
            Vital::Files => &self.files,
            Vital::Disk => &self.disk,
        }
    }

    /// It should be given a session only when nobody else is left.
    pub fn is_exhausted(&self) -> bool {
        self.memory.verdict == Verdict::Down || self.files.verdict == Verdict::Down
    }

    /// What is not well, for people: `files 96 % used`.
    pub fn troubles(&self) -> impl Iterator<Item = (Vital, &Reading, String)> {
        Vital::ALL.into_iter().map(|vital| (vital, self.of(vital))).filter_map(|(vital, reading)| {
            let told = || format!("{} {} % used", vital.as_str(), reading.permille() / 10);
            (reading.verdict != Verdict::Up).then(|| (vital, reading, told()))
        })
    }

    const fn of_mut(&mut self, vital: Vital) -> &mut Reading {
        match vital {
            Vital::Cpu => &mut self.cpu,
            Vital::Memory => &mut self.memory,
            Vital::Files => &mut self.files,
            Vital::Disk => &mut self.disk,
        }
    }
}

/// The verdict on a thing of which so many thousandths are in use, and that was judged `before`.
fn judge(vital: Vital, permille: u64, before: Verdict) -> Verdict {
    let level = |permille: u64| match vital.marks() {
        (_, down) if permille >= down => Verdict::Down,
        (suspect, _) if permille >= suspect => Verdict::Suspect,
        _ => Verdict::Up,
    };
    level(permille).max(before.min(level(permille.saturating_add(MARGIN))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The verdict after each of these readings in thousandths.
    fn after(vital: Vital, readings: &[u64]) -> Vec<Verdict> {
        let mut vitals = Vitals::default();
        let read = |used: &u64| {
            vitals.read(vital, *used, 1_000, 1);
            vitals.of(vital).verdict
        };
        readings.iter().map(read).collect()
    }

    #[test]
    fn each_thing_has_its_marks_and_a_margin_on_the_way_back() {
        use Verdict::{Down, Suspect, Up};
        assert_eq!(
            after(Vital::Files, &[799, 800, 949, 950, 901, 899, 751, 749]),
            [Up, Suspect, Suspect, Down, Down, Suspect, Suspect, Up]
        );
        assert_eq!(after(Vital::Cpu, &[949, 950, 1_000, 899]), [Up, Suspect, Suspect, Up]);
        assert_eq!(after(Vital::Memory, &[970, 100]), [Down, Up]);
        assert_eq!(after(Vital::Disk, &[980, 945, 929]), [Down, Down, Suspect]);
    }

    #[test]
    fn what_cannot_be_read_is_judged_as_before() {
        let mut vitals = Vitals::default();
        vitals.read(Vital::Files, 990, 1_000, 1);
        assert_eq!(vitals.read(Vital::Files, 0, 0, 2), None);
        assert!(vitals.is_exhausted());
        assert_eq!(vitals.read(Vital::Files, 10, 1_000, 3), Some(Verdict::Up));
    }

    #[test]
    fn only_files_and_memory_keep_sessions_away() {
        for (vital, exhausted) in
            [(Vital::Cpu, false), (Vital::Memory, true), (Vital::Files, true), (Vital::Disk, false)]
        {
            let mut vitals = Vitals::default();
            vitals.read(vital, 1_000, 1_000, 1);
            assert_eq!(vitals.is_exhausted(), exhausted, "{vital:?}");
        }
    }

    #[test]
    fn what_could_not_be_read_is_no_trouble_and_a_change_has_its_time() {
        let mut vitals = Vitals::default();
        assert_eq!(vitals.read(Vital::Memory, 5, 0, 7), None);
        assert_eq!(vitals.read(Vital::Memory, 95, 100, 8), Some(Verdict::Suspect));
        assert_eq!(vitals.read(Vital::Memory, 94, 100, 9), None);
        assert_eq!(vitals.memory.since_ms, 8);
        let told: Vec<_> = vitals.troubles().map(|(_, _, told)| told).collect();
        assert_eq!(told, ["memory 94 % used"]);
    }

    proptest! {
        #[test]
        fn a_value_that_swings_around_a_mark_flips_once(centre in 100_u64..1_000, swings in proptest::collection::vec(0_u64..50, 2..40)) {
            for vital in Vital::ALL {
                let mut vitals = Vitals::default();
                let changes = swings.iter().filter(|swing| {
                    vitals.read(vital, centre + **swing, 1_000, 1).is_some()
                });
                prop_assert!(changes.count() <= 2);
            }
        }
    }
}
