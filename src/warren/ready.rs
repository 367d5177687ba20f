//! Ready files: how a harness learns that a process serves, and where.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use serde::Serialize;

/// Removes what an earlier run left, so that nobody takes it for this one's.
pub(crate) fn clear(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the old ready file `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes `facts` as one JSON object: whoever sees the file sees all of it.
pub(crate) fn write(path: &Path, facts: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(facts).context("cannot write the ready file's facts")?;
    let draft = draft_of(path);
    fs::write(&draft, text + "\n")
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("cannot write the ready file `{}`", path.display()))
}

/// A name in the same folder that no other process uses.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.draft", process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_ready_file_is_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.ready");
        clear(&path).unwrap();
        fs::write(&path, "old").unwrap();
        clear(&path).unwrap();
        assert!(!path.exists());
        write(&path, &json!({"id": "gwy-1", "metrics": null})).unwrap();
        let read: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["id"], "gwy-1");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write(Path::new("/nowhere/ready"), &1).unwrap_err();
        assert!(error.to_string().contains("`/nowhere/ready`"), "{error}");
    }
}
