//! Where log lines go on Windows: a service has no stderr, and names a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

/// At this size a log becomes the former one, and that one goes: it takes no more than twice as much.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Mutex<(File, u64)>,
}

/// From here on lines go to this file. Call once, before the first line.
pub(crate) fn write_to(path: &Path) -> io::Result<()> {
    let file = Mutex::new(open(path)?);
    if LOG.set(Log { path: path.to_owned(), file }).is_err() {
        return Err(io::Error::other("the log has a file already"));
    }
    Ok(())
}

/// What a service says when it cannot go on.
pub(crate) fn last_words(told: &str) {
    // Nowhere is left to tell that even this failed.
    let _ = writeln!(Lines, "{told}");
}

/// One writer for each line.
#[derive(Debug)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LOG.get().map_or_else(|| io::stderr().write(line), |log| log.write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn write(&self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1 >= LOG_BYTES_MAX {
            let mut former = self.path.clone().into_os_string();
            former.push(".former");
            // While somebody holds the former one open it stays, and this one grows until it can be moved.
            if fs::rename(&self.path, former).is_ok() {
                *file = open(&self.path)?;
            }
        }
        let count = file.0.write(line)?;
        file.1 += count as u64;
        Ok(count)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}
