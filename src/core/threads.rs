//! How many threads a server works with.

use std::{fmt, num::ParseIntError, str::FromStr};

use thiserror::Error;

/// Most that can be asked for.
pub const THREADS_MAX: usize = 1_024;

/// Worker threads of one server, 1 to [`THREADS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads(usize);

/// Why a text is no count of threads.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no count of threads, expected a whole number from 1 to {THREADS_MAX}")]
pub struct ThreadsError(String);

impl Threads {
    /// Half of the machine's CPUs, at least one. The other half is for the kernel, which spends more than half of the time
    /// of a tunnel. A second thread on two CPUs costs a fifth more CPU for each byte, in wakeups from one to the other, and
    /// makes neither bulk nor round trips faster.
    pub fn for_cpus(cpus: usize) -> Self {
        Self((cpus / 2).clamp(1, THREADS_MAX))
    }

    pub fn count(self) -> usize {
        self.0
    }
}

impl FromStr for Threads {
    type Err = ThreadsError;

    fn from_str(text: &str) -> Result<Self, ThreadsError> {
        let count = text.trim().parse().map_err(|_: ParseIntError| ThreadsError(text.to_owned()))?;
        if (1..=THREADS_MAX).contains(&count) { Ok(Self(count)) } else { Err(ThreadsError(text.to_owned())) }
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cpus_and_never_none() {
        let counts = [0, 1, 2, 3, 4, 64].map(|cpus| Threads::for_cpus(cpus).count());
        assert_eq!(counts, [1, 1, 1, 1, 2, 32]);
    }

    #[test]
    fn only_counts_are_read() {
        assert_eq!("4".parse(), Ok(Threads(4)));
        for text in ["0", "1025", "-1", "two", "", "1.5"] {
            assert!(text.parse::<Threads>().is_err(), "{text}");
        }
    }
}
