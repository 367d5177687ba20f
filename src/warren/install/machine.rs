//! The machine: its files, below a root that tests choose, and its commands, each with a deadline.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::fs::OFlags;
use tokio::{process::Command, time::timeout};

use super::{
    found::Ids,
    place::USER,
    plan::{Content, Owner},
};
use crate::exit::{Exit, Failure};

/// Stopping an agent takes as long as its unit allows: the drain, and a little.
const COMMAND_WITHIN: Duration = Duration::from_secs(150);
/// Variables that may hold secrets, for this program alone.
const OWN_VARIABLES: [&str; 2] = ["REGISTRATION_JWT", "WARREN_PROXY"];
const LOG_LINES: &str = "12";

#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

/// What systemd says of a unit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct State {
    active: String,
    /// Exit code of the main process that ended last.
    pub(super) status: Option<i32>,
    /// Its files have changed since systemd read them.
    pub(super) is_unread: bool,
    pid: Option<u32>,
}

impl State {
    fn parse(text: &str) -> Self {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let pid = value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0);
        Self {
            active: value("ActiveState").unwrap_or_default().to_owned(),
            status: value("ExecMainStatus").and_then(|status| status.parse().ok()),
            is_unread: value("NeedDaemonReload") == Some("yes"),
            pid,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active == "active"
    }

    pub(super) fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// Linux marks the program of a process whose file is gone.
    pub(super) fn is_stale(&self) -> bool {
        let program = self.pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
        program.is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
    }
}

impl Machine {
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        Self { root: root.unwrap_or_else(|| PathBuf::from("/")) }
    }

    fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the machine is found.
    pub(super) fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Root, or whoever plays root below another root.
    pub(super) fn root_id(&self) -> u32 {
        if self.is_real() { 0 } else { rustix::process::geteuid().as_raw() }
    }

    /// Accounts below are the system's (login.defs). Who plays the service below another root is any.
    pub(super) fn is_person(&self, ids: Ids) -> bool {
        const FIRST_PERSON: u32 = 1_000;
        self.is_real() && ids.uid >= FIRST_PERSON
    }

    pub(super) fn has_systemd(&self) -> bool {
        self.real(Path::new("/run/systemd/system")).is_dir()
    }

    /// Refuses where nothing could be done.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if rustix::process::geteuid().as_raw() != self.root_id() {
            return Err(Failure::new(
                Exit::Refused,
                "this needs root: run it with sudo, or see what it would do with --dry-run",
            ));
        }
        if !self.has_systemd() {
            let told = "this machine is not run by systemd, the only one that services are installed for: \
                        let what runs it start `warren agent` with the same flags, or use a container";
            return Err(Failure::unreachable(told));
        }
        Ok(())
    }

    pub(super) async fn ids(&self, user: &str) -> Option<Ids> {
        let number = async |flag: &'static str| {
            let said = self.output(&["id", flag, user]).await.ok().filter(|said| said.status.success())?;
            String::from_utf8_lossy(&said.stdout).trim().parse().ok()
        };
        Some(Ids { uid: number("-u").await?, gid: number("-g").await? })
    }

    pub(super) async fn state(&self, unit: &str) -> anyhow::Result<State> {
        let properties = "--property=ActiveState,ExecMainStatus,MainPID,NeedDaemonReload";
        let said = self.output(&["systemctl", "show", properties, unit]).await?;
        Ok(State::parse(&String::from_utf8_lossy(&said.stdout)))
    }

    pub(super) async fn succeeds(&self, words: &[&str]) -> bool {
        self.output(words).await.is_ok_and(|said| said.status.success())
    }

    /// The newest lines of the unit's log; empty if there is no journal.
    pub(super) async fn log(&self, unit: &str) -> Vec<String> {
        let words =
            ["journalctl", "--unit", unit, "--lines", LOG_LINES, "--no-pager", "--output", "cat", "--quiet"];
        let said = self.output(&words).await.map(|said| said.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
    }

    /// Runs a command that must succeed.
    pub(super) async fn run(&self, words: &[impl AsRef<str>]) -> anyhow::Result<()> {
        let (program, args) = words.split_first().context("no command")?;
        let mut command = Command::new(program.as_ref());
        must_succeed(output(command.args(args.iter().map(AsRef::as_ref))).await?)
    }

    /// Makes an empty file where only the service's user has a say. It is that user who makes it: whatever stands there in its
    /// place, such as a link to a file of root's, gives nobody more than he had.
    pub(super) async fn note(&self, path: &Path) -> anyhow::Result<()> {
        let ids = self.service().await?;
        let mut command = Command::new("touch");
        command.arg("--").arg(self.real(path)).uid(ids.uid).gid(ids.gid);
        must_succeed(output(&mut command).await?)
    }

    async fn output(&self, words: &[&str]) -> anyhow::Result<Output> {
        let (program, args) = words.split_first().context("no command")?;
        output(Command::new(program).args(args)).await
    }

    pub(super) async fn folder(&self, path: &Path, mode: u32, owner: Owner) -> anyhow::Result<()> {
        let real = self.real(path);
        fs::create_dir_all(&real)?;
        let only_itself = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
        let folder = fs::OpenOptions::new().read(true).custom_flags(only_itself).open(&real)?;
        self.give(&folder, mode, owner).await
    }

    /// Whole and with its owner and mode, or not at all.
    pub(super) async fn write(
        &self,
        path: &Path,
        mode: u32,
        owner: Owner,
        content: &Content,
    ) -> anyhow::Result<()> {
        let real = self.real(path);
        let folder = real.parent().context("a file stands in a folder")?;
        fs::create_dir_all(folder)?;
        // Made with mode 0600.
        let mut draft = tempfile::Builder::new().prefix(".warren-").tempfile_in(folder)?;
        match content {
            Content::Text(text) | Content::Secret(text) => io::Write::write_all(&mut draft, text.as_bytes())?,
            Content::Copy(from) => {
                io::copy(&mut fs::File::open(from)?, &mut draft)?;
            }
        }
        self.give(draft.as_file(), mode, owner).await?;
        draft.as_file().sync_all()?;
        draft.persist(&real)?;
        Ok(())
    }

    /// What is not there need not be removed.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        gone(fs::remove_file(self.real(path)))
    }

    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        gone(fs::remove_dir_all(self.real(path)))
    }

    /// Takes what is open, not a path: nobody can swap it in between.
    async fn give(&self, open: &fs::File, mode: u32, owner: Owner) -> anyhow::Result<()> {
        let (uid, gid) = match owner {
            Owner::Root => (self.root_id(), None),
            Owner::RootForService => (self.root_id(), Some(self.service().await?.gid)),
            Owner::Service => {
                let ids = self.service().await?;
                (ids.uid, Some(ids.gid))
            }
        };
        // The owner first: others may not see what only the new one may.
        fchown(open, Some(uid), gid)?;
        Ok(open.set_permissions(fs::Permissions::from_mode(mode))?)
    }

    async fn service(&self) -> anyhow::Result<Ids> {
        self.ids(USER).await.with_context(|| format!("there is no user {USER}"))
    }
}

async fn output(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    for variable in OWN_VARIABLES {
        command.env_remove(variable);
    }
    let ended = timeout(COMMAND_WITHIN, command.output()).await;
    ended
        .map_err(|_| anyhow::anyhow!("it did not end within {COMMAND_WITHIN:?}"))?
        .with_context(|| format!("cannot run {}", command.as_std().get_program().display()))
}

fn must_succeed(said: Output) -> anyhow::Result<()> {
    if said.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&said.stderr);
    Err(anyhow::anyhow!("it ended with {}: {}", said.status, text.trim()))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read() {
        let state = State::parse("ExecMainStatus=3\nMainPID=0\nActiveState=failed\nNeedDaemonReload=no\n");
        assert_eq!(state, State { active: "failed".into(), status: Some(3), is_unread: false, pid: None });
        assert!(state.is_failed() && !state.is_active() && !state.is_stale());
        assert!(State::parse("ActiveState=active\nNeedDaemonReload=yes\n").is_unread);
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(Some(root.path().to_owned()));
        fs::create_dir(root.path().join("another")).unwrap();
        std::os::unix::fs::symlink("another", root.path().join("link")).unwrap();
        assert!(machine.folder(Path::new("/link"), 0o777, Owner::Root).await.is_err());
        machine.folder(Path::new("/real"), 0o711, Owner::Root).await.unwrap();
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode("another"), 0o777);
        assert_eq!(mode("real"), 0o711);
    }

    #[test]
    fn paths_of_the_machine_are_below_its_root() {
        let machine = Machine::new(Some("/tmp/x".into()));
        assert_eq!(machine.real(Path::new("/etc/warren")), Path::new("/tmp/x/etc/warren"));
        assert_eq!(Machine::new(None).real(Path::new("/etc")), Path::new("/etc"));
        let persons = [0, 999, 1_000].map(|uid| Machine::new(None).is_person(Ids { uid, gid: 1 }));
        assert_eq!(persons, [false, false, true]);
    }
}
