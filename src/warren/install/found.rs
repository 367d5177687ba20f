//! What is on the machine already.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Deserialize;

use super::{
    machine::Machine,
    place::{PACKAGED_SYSUSERS, PACKAGED_UNITS, PROGRAM, Place, SETTINGS, SYSUSERS, UNITS, USER},
    plan::Owner,
};

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// User and group of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    /// The program that runs.
    pub(super) program: PathBuf,
    /// Its copy is where it would be put.
    pub(super) program_is_there: bool,
    /// A package brought program and unit.
    pub(super) packaged: bool,
    pub(super) files: BTreeMap<PathBuf, File>,
    pub(super) folders: BTreeSet<PathBuf>,
    /// Who counts as root.
    pub(super) root: u32,
    /// Absent before the user was made.
    pub(super) service: Option<Ids>,
    pub(super) enabled: bool,
    pub(super) active: bool,
    pub(super) failed: bool,
    /// It serves already.
    pub(super) ready: bool,
    /// It runs a program that was replaced since.
    pub(super) stale: bool,
    pub(super) enrolled: bool,
    /// Who it is, if it is enrolled.
    pub(super) agent: Option<String>,
    /// Units of other agents or of a gateway on this machine.
    pub(super) neighbours: bool,
}

/// The part of an agent's `agent.json` that people need.
#[derive(Debug, Deserialize)]
struct Facts {
    agent: String,
}

impl Found {
    /// Looks around. `data_dir` is where the agent's identity would be.
    pub(super) async fn gather(machine: &Machine, place: &Place, data_dir: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut found = Self {
            program_is_there: same(&program, &machine.real(Path::new(PROGRAM)))?,
            packaged: PACKAGED_UNITS
                .iter()
                .any(|units| machine.real(&Path::new(units).join("warren-agent.service")).exists()),
            program,
            root: machine.root_id(),
            service: machine.ids(USER).await,
            neighbours: neighbours(machine, place)?,
            ..Self::default()
        };
        let files = [
            place.config(),
            place.former_config(),
            place.ca(),
            place.token(),
            place.unit_file(),
            place.drop_in(),
            PathBuf::from(SYSUSERS),
            PathBuf::from(PACKAGED_SYSUSERS),
        ];
        for path in files {
            if let Some(file) = read(&machine.real(&path))? {
                found.files.insert(path, file);
            }
        }
        let drop_ins = place.drop_in().parent().map(Path::to_owned);
        let folders = [Some(PathBuf::from(SETTINGS)), drop_ins, Some(data_dir.to_owned())];
        found.folders.extend(folders.into_iter().flatten().filter(|path| machine.real(path).is_dir()));
        if let Some(file) = read(&machine.real(&data_dir.join("agent.json")))? {
            found.enrolled = true;
            found.agent = serde_json::from_slice(&file.content).ok().map(|facts: Facts| facts.agent);
        }
        if machine.has_systemd() {
            let unit = place.unit();
            found.enabled = machine.succeeds(&["systemctl", "is-enabled", "--quiet", &unit]).await;
            let state = machine.state(&unit).await?;
            (found.active, found.failed) = (state.is_active(), state.is_failed());
            found.stale = state.is_stale();
            found.ready = state.is_active() && machine.real(&place.ready_file()).exists();
        }
        Ok(found)
    }

    pub(super) fn text(&self, path: &Path) -> Option<&str> {
        self.files.get(path).and_then(|file| std::str::from_utf8(&file.content).ok())
    }

    pub(super) fn owns(&self, owner: Owner, file: &File) -> bool {
        let service = self.service;
        match owner {
            Owner::Root => file.uid == self.root,
            Owner::RootForService => file.uid == self.root && service.is_some_and(|ids| ids.gid == file.gid),
            Owner::Service => service.is_some_and(|ids| ids.uid == file.uid),
        }
    }
}

/// Whether units of Warren other than this one's are here.
fn neighbours(machine: &Machine, place: &Place) -> anyhow::Result<bool> {
    let folder = machine.real(Path::new(UNITS));
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", folder.display())),
    };
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let other =
        |name: String| name.starts_with("warren-") && name.ends_with(".service") && name != place.unit();
    Ok(names.any(other))
}

pub(super) fn read(path: &Path) -> anyhow::Result<Option<File>> {
    let told = || format!("cannot read `{}`", path.display());
    match fs::read(path) {
        Ok(content) => {
            let about = fs::metadata(path).with_context(told)?;
            Ok(Some(File { content, mode: about.mode() & 0o7777, uid: about.uid(), gid: about.gid() }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(told),
    }
}

/// Whether both files hold the same. Programs are large: their sizes are asked first, and they are not read whole.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let size = |path: &Path| fs::metadata(path).map(|about| about.len()).ok();
    if size(other).is_none() || size(one) != size(other) {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(fs::File::open(one)?), BufReader::new(fs::File::open(other)?));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_compared_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        let mut text = vec![7_u8; 20_000];
        fs::write(&one, &text).unwrap();
        assert!(!same(&one, &other).unwrap());
        fs::write(&other, &text).unwrap();
        assert!(same(&one, &other).unwrap());
        text[19_999] = 8;
        fs::write(&other, &text).unwrap();
        assert!(!same(&one, &other).unwrap());
    }
}
