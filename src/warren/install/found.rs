//! What is on the machine already.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use rustix::fs::OFlags;
use serde::Deserialize;

use super::{
    machine::Machine,
    place::{LEFT, PACKAGED_SYSUSERS, PACKAGED_UNITS, PROGRAM, Place, SETTINGS, SYSUSERS, UNITS, USER},
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
    /// That user is somebody's account, and not one for a service.
    pub(super) person: bool,
    pub(super) enabled: bool,
    pub(super) active: bool,
    pub(super) failed: bool,
    /// It serves already.
    pub(super) ready: bool,
    /// What it runs, or runs with, was replaced since it was started, as by an installation that did not come to its end.
    pub(super) stale: bool,
    /// systemd has not read its unit as it is.
    pub(super) unread: bool,
    pub(super) enrolled: bool,
    /// It has left its group for good, and is nobody from its next start on.
    pub(super) has_left: bool,
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
        let service = machine.ids(USER).await;
        let mut found = Self {
            program_is_there: same(&program, &machine.real(Path::new(PROGRAM)))?,
            packaged: PACKAGED_UNITS
                .iter()
                .any(|units| machine.real(&Path::new(units).join("warren-agent.service")).exists()),
            program,
            root: machine.root_id(),
            service,
            person: service.is_some_and(|ids| machine.is_person(ids)),
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
        found.has_left = read(&machine.real(&data_dir.join(LEFT)))?.is_some();
        if let Some(file) = read(&machine.real(&data_dir.join("agent.json")))?.filter(|_| !found.has_left) {
            found.enrolled = true;
            found.agent = serde_json::from_slice(&file.content).ok().map(|facts: Facts| facts.agent);
        }
        if machine.has_systemd() {
            let unit = place.unit();
            found.enabled = machine.succeeds(&["systemctl", "is-enabled", "--quiet", &unit]).await;
            let state = machine.state(&unit).await?;
            (found.active, found.failed) = (state.is_active(), state.is_failed());
            let read_at_start = [place.config(), place.ca(), place.unit_file(), place.drop_in()];
            let read_at_start = read_at_start.map(|path| machine.real(&path));
            found.unread = state.is_unread;
            found.stale = state.is_stale()
                || changed_since(&read_at_start, &machine.real(&place.run_folder()))
                    .context("cannot tell whether the settings changed since the start")?;
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

/// Some of these files are the service's, and root reads them: a pipe is not waited for, and no more is read than settings have.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<File>> {
    const LENGTH_MAX: u64 = 1 << 20;
    let told = || format!("cannot read `{}`", path.display());
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = match fs::OpenOptions::new().read(true).custom_flags(without_waiting).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(told),
    };
    let about = file.metadata().with_context(told)?;
    let mut content = Vec::new();
    file.take(LENGTH_MAX + 1).read_to_end(&mut content).with_context(told)?;
    if content.len() as u64 > LENGTH_MAX {
        anyhow::bail!("`{}` is larger than {LENGTH_MAX} bytes", path.display());
    }
    Ok(Some(File { content, mode: about.mode() & 0o7777, uid: about.uid(), gid: about.gid() }))
}

/// Whether one of the files was written after the folder that each start makes anew.
fn changed_since(files: &[PathBuf], made_by_start: &Path) -> io::Result<bool> {
    let changed = |path: &Path| match fs::metadata(path).and_then(|about| about.modified()) {
        Ok(time) => Ok(Some(time)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(start) = changed(made_by_start)? else { return Ok(false) };
    let mut last: Option<SystemTime> = None;
    for path in files {
        last = last.max(changed(path)?);
    }
    Ok(last.is_some_and(|last| last > start))
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_read_is_neither_waited_for_nor_endless() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(read(&path("absent")).unwrap().is_none());
        assert!(read(folder.path()).is_err());
        fs::write(path("small"), "text").unwrap();
        assert_eq!(read(&path("small")).unwrap().unwrap().content, b"text");
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert_eq!(read(&path("pipe")).unwrap().unwrap().content, b"", "nobody writes to it");
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        assert!(read(&path("endless")).is_err());
        fs::File::create(path("large")).unwrap().set_len(1 << 30).unwrap();
        assert!(read(&path("large")).is_err());
    }

    #[test]
    fn settings_that_are_newer_than_the_start_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let [settings, absent, run] = ["settings", "absent", "run"].map(|name| folder.path().join(name));
        fs::write(&settings, "").unwrap();
        let files = [settings.clone(), absent];
        assert!(!changed_since(&files, &run).unwrap(), "nothing was started");
        fs::create_dir(&run).unwrap();
        let at = |time: SystemTime| fs::File::options().append(true).open(&settings)?.set_modified(time);
        let started = fs::metadata(&run).unwrap().modified().unwrap();
        for (time, changed) in [
            (started - Duration::from_secs(1), false),
            (started, false),
            (started + Duration::from_millis(1), true),
        ] {
            at(time).unwrap();
            assert_eq!(changed_since(&files, &run).unwrap(), changed);
        }
    }

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
