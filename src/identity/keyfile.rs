//! Private files: whole or absent, and for their owner's eyes only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{owner, random::random};

/// The largest private file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a private file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("`{}` can be reached by group or others (mode {mode:03o}), run `chmod 600` on it", path.display())]
    Loose { path: PathBuf, mode: u32 },
    #[error("`{}` is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("`{}` is larger than {FILE_BYTES_MAX} bytes, which no key is", path.display())]
    TooLarge { path: PathBuf },
    #[error("cannot {act} `{}`", path.display())]
    Io { act: &'static str, path: PathBuf, source: io::Error },
}

/// Reads a private file; `None` when there is none.
///
/// Refuses a file that group or others may touch: a key that others could read counts as leaked, and going on
/// quietly would hide it. Windows has no modes to see that by.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    let failed = |act| move |source| KeyFileError::Io { act, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open")(error)),
    };
    // The open file is asked, not the path: nobody can swap it in between.
    let facts = file.metadata().map_err(failed("examine"))?;
    if !facts.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    if let Some(mode) = owner::loose(&facts) {
        return Err(KeyFileError::Loose { path: path.to_owned(), mode });
    }
    // Room for all of it at once, so that growing leaves no copies of the key behind.
    let room = facts.len().min(FILE_BYTES_MAX) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or_default()));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

/// Writes a private file (mode 0600 where there are modes), replacing what was there. After a crash the old or the new content is there
/// whole; once this returns, the new one is on disk.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let beside = write_beside(path, bytes)?;
    let renamed = fs::rename(&beside, path);
    finish(path, &beside, renamed).map(|_| ())
}

/// Like [`write_private`], but leaves a file alone that is there already. Says whether it was written; of several
/// processes that try at once exactly one gets `true`.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<bool, KeyFileError> {
    let beside = write_beside(path, bytes)?;
    // A hard link fails when the name is taken, which a rename does not.
    let named = fs::hard_link(&beside, path);
    finish(path, &beside, named)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, KeyFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", URL_SAFE_NO_PAD.encode(random::<9>())));
    let beside = path.with_file_name(name);
    let written = owner::private(OpenOptions::new().write(true).create_new(true))
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => Ok(beside),
        Err(source) => {
            // Best effort: what is left of it is named in the error.
            let _ = fs::remove_file(&beside);
            Err(KeyFileError::Io { act: "write", path: beside, source })
        }
    }
}

fn finish(path: &Path, beside: &Path, named: io::Result<()>) -> Result<bool, KeyFileError> {
    let failed = |act| move |source| KeyFileError::Io { act, path: path.to_owned(), source };
    // After a rename it is gone already, after a link or a failure it must go.
    let _ = fs::remove_file(beside);
    let created = match named {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("name")(error)),
    };
    owner::sync_name(path).map_err(failed("sync the name of"))?;
    Ok(created)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_written_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read_private(&path).unwrap().is_none());
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap().as_slice(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_loose_file_is_refused_and_a_rewrite_tightens_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for loose in [0o640, 0o604, 0o620, 0o610] {
            write_private(&path, b"key").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Loose { mode, .. } if mode == loose), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        write_private(&path, b"key").unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn only_the_first_creates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(create_private(&path, b"first").unwrap());
        assert!(!create_private(&path, b"second").unwrap());
        assert_eq!(read_private(&path).unwrap().unwrap().as_slice(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn odd_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_private(folder.path()), Err(KeyFileError::NotAFile { .. })));
        let path = folder.path().join("large");
        write_private(&path, &vec![0; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(matches!(read_private(&path), Err(KeyFileError::TooLarge { .. })));
        assert!(matches!(
            write_private(&folder.path().join("no/such"), b""),
            Err(KeyFileError::Io { act: "write", .. })
        ));
    }
}
