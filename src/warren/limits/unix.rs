use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What became of the limit on open files. A session takes one of them at each end; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
}

/// Raises the soft limit on open files to the hard one, which is as far as a process may go by itself, and logs it.
pub(crate) fn raise_open_files() -> OpenFiles {
    let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
    if before == maximum {
        tracing::info!(limit = %Shown(maximum), "limit on open files stands");
        return OpenFiles { before, after: before };
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!(before = %Shown(before), limit = %Shown(maximum), "limit on open files raised");
            OpenFiles { before, after: maximum }
        }
        Err(error) => {
            let limit = Shown(before);
            tracing::warn!(%error, %limit, "limit on open files cannot be raised, it bounds the sessions");
            OpenFiles { before, after: before }
        }
    }
}

struct Shown(Option<u64>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{limit}"),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // One below, so that the rest of this test process notices nothing.
        let lower = maximum.map(|hard| hard - 1).or(current);
        setrlimit(Resource::Nofile, Rlimit { current: lower, maximum }).unwrap();
        assert_eq!(raise_open_files(), OpenFiles { before: lower, after: maximum });
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        assert_eq!(raise_open_files(), OpenFiles { before: maximum, after: maximum });
    }
}
