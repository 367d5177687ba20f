//! One gateway for one data directory.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Held for as long as the gateway serves. The system lets go of it however the process ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

/// Why the data directory cannot be had.
#[derive(Debug, Error)]
pub enum LockError {
    #[error("another gateway serves from `{}`: stop it first, or choose another data directory", path.display())]
    InUse { path: PathBuf },
    #[error("cannot lock `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DataLock {
    /// Takes the directory, which must exist, or says at once that another has it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { path: data_dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::take(folder.path()).unwrap();
        let refused = DataLock::take(folder.path()).unwrap_err().to_string();
        assert!(refused.starts_with("another gateway serves from"), "{refused}");
        drop(first);
        DataLock::take(folder.path()).unwrap();
    }
}
