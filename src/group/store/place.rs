//! The folder of the log, as far as it differs by system: who may read what is made in it, and that it remembers a new file.

use std::{fs::OpenOptions, io, path::Path};

/// A file that is made with these options is its owner's alone.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

/// On Windows a file takes the access list of its folder.
#[cfg(windows)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// A folder cannot be synced on Windows. NTFS writes what it did with names in order before what is flushed later, and the
/// log's file is flushed with each transaction, the first of which makes its tables.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(super) fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}
