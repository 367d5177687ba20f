//! Limits of the process that the servers lift at start.

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub(crate) use unix::raise_open_files;

/// Windows has no such limit that a program could meet or lift.
#[cfg(windows)]
pub(crate) fn raise_open_files() {}
