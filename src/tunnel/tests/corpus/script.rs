//! How an input is read as a script: one choice at a time.

use std::sync::LazyLock;

use bytes::Bytes;

/// What is left of an input. At its end every choice is the first one.
#[derive(Debug)]
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl Script<'_> {
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// Bytes `from..from + len` of the stream called `name`: streams differ, and so do neighbours and far places of one.
pub(crate) fn pattern(name: u64, from: u64, len: usize) -> Bytes {
    const PERIOD: usize = 65_521;
    static STREAM: LazyLock<Bytes> = LazyLock::new(|| {
        let bytes: Bytes = (0..PERIOD).map(|at| (at ^ (at >> 8).wrapping_mul(31)) as u8).collect();
        bytes.repeat(3).into()
    });
    let start = (from as usize).wrapping_add(name as usize * 7919) % PERIOD;
    STREAM.slice(start..start + len)
}
