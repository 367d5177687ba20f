//! The steps of an installation, in words and carried out; each may be done again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde::Deserialize;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{
    manager,
    place::{PROGRAM, Place},
};
use crate::{
    exit::{Exit, Failure},
    output::talk,
};

const LOOK: Duration = Duration::from_millis(200);
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// Windows' own program for access lists; by its whole path, so that no other is run.
const ICACLS: &str = r"C:\Windows\System32\icacls.exe";
/// The system and administrators, by numbers that are the same in every language.
const OWNERS: [&str; 2] = ["*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F"];
const LOG_LINES: usize = 12;

#[derive(Debug)]
pub(super) enum Step {
    Stop,
    Folder(PathBuf),
    /// Takes a folder from everybody but the service, the system and administrators.
    Protect(PathBuf),
    Copy {
        from: PathBuf,
        to: PathBuf,
    },
    Write(PathBuf, Vec<u8>),
    Register,
    Start,
    AwaitReady,
    CheckLeft {
        note: PathBuf,
        id: String,
    },
    Unregister,
    Remove(PathBuf),
    /// A data folder, if it holds nothing but an agent's files.
    RemoveAgents(PathBuf),
}

/// Who serves, from the agent's ready file.
#[derive(Debug, Deserialize)]
pub(super) struct Serving {
    pub(super) id: String,
    pub(super) group: String,
}

impl Step {
    pub(super) fn line(&self, place: &Place) -> String {
        let service = place.service();
        match self {
            Self::Stop => format!("stop {service}, if it runs"),
            Self::Folder(path) => format!("make {}", path.display()),
            Self::Protect(path) => {
                let account = place.account();
                format!("{} for {account}, the system and administrators alone", path.display())
            }
            Self::Copy { from, to } => format!("copy {} to {}", from.display(), to.display()),
            Self::Write(path, _) => format!("write {}", path.display()),
            Self::Register => format!("register the service {service}, which runs {PROGRAM}"),
            Self::Start => format!("start {service}"),
            Self::AwaitReady => "wait until it serves".to_owned(),
            Self::CheckLeft { .. } => "see that its group let it go".to_owned(),
            Self::Unregister => format!("remove the service {service}"),
            Self::Remove(path) | Self::RemoveAgents(path) => format!("remove {}", path.display()),
        }
    }
}

/// What steps are carried out for.
#[derive(Debug)]
pub(super) struct Acting<'a> {
    pub(super) place: &'a Place,
    pub(super) wait: Duration,
}

impl Acting<'_> {
    /// Who serves afterwards, if the steps wait for that.
    pub(super) async fn carry_out(&self, steps: &[Step]) -> anyhow::Result<Option<Serving>> {
        let mut serving = None;
        for (index, step) in steps.iter().enumerate() {
            let line = step.line(self.place);
            talk(format_args!("[{}/{}] {line}", index + 1, steps.len()));
            match step {
                Step::AwaitReady => serving = Some(self.await_ready().await?),
                step => self.one(step).await.with_context(|| format!("step {} failed: {line}", index + 1))?,
            }
        }
        Ok(serving)
    }

    async fn one(&self, step: &Step) -> anyhow::Result<()> {
        let place = self.place;
        match step {
            Step::Stop => manager::stop(place).await,
            Step::Folder(path) => Ok(fs::create_dir_all(path)?),
            Step::Protect(path) => self.protect(path).await,
            Step::Copy { from, to } => {
                fs::create_dir_all(to.parent().context("a program stands in a folder")?)?;
                fs::copy(from, to)?;
                Ok(())
            }
            Step::Write(path, content) => Ok(warren_identity::keyfile::write_private(path, content)?),
            Step::Register => manager::register(place),
            Step::Start => {
                gone(fs::remove_file(place.ready_file()))?;
                manager::start(place)
            }
            Step::CheckLeft { note, id } => self.check_left(note, id),
            Step::Unregister => manager::unregister(place),
            Step::Remove(path) => Ok(gone(fs::remove_file(path))?),
            Step::RemoveAgents(path) => remove_agents(path),
            Step::AwaitReady => unreachable!("waiting is no act"),
        }
    }

    async fn protect(&self, folder: &Path) -> anyhow::Result<()> {
        let service = format!("{}:(OI)(CI)M", self.place.account());
        let mut command = Command::new(ICACLS);
        command.arg(folder).args(["/inheritance:r", "/grant:r"]).args(OWNERS).arg(service).args(["/Q"]);
        let said = timeout(COMMAND_WITHIN, command.kill_on_drop(true).output()).await;
        let said = said.context("icacls did not end")?.context("cannot run icacls")?;
        let told = String::from_utf8_lossy(&said.stdout);
        anyhow::ensure!(said.status.success(), "icacls ended with {}: {}", said.status, told.trim());
        Ok(())
    }

    /// Until the agent has written its ready file.
    async fn await_ready(&self) -> anyhow::Result<Serving> {
        let service = self.place.service();
        let deadline = Instant::now() + self.wait;
        loop {
            match fs::read(self.place.ready_file()) {
                Ok(text) => return serde_json::from_slice(&text).context("cannot understand the ready file"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("cannot read the ready file"),
            }
            if let Some(exit) = manager::gave_up(&manager::status(self.place)?) {
                return Err(Failure::new(exit, self.with_log(format!("{service} ended"))).into());
            }
            if Instant::now() > deadline {
                let told = format!("{service} does not serve after {:?}; it goes on trying", self.wait);
                return Err(Failure::unreachable(self.with_log(told)).into());
            }
            sleep(LOOK).await;
        }
    }

    /// An agent that was not let go is wanted by its group: it goes on.
    fn check_left(&self, note: &Path, id: &str) -> anyhow::Result<()> {
        if fs::read_to_string(note).is_ok_and(|text| text.trim() == id) {
            return Ok(());
        }
        let told = self.with_log("the group did not let the agent go, it is started again".to_owned());
        manager::start(self.place)?;
        Err(Failure::new(Exit::Refused, told).into())
    }

    fn with_log(&self, told: String) -> String {
        let log = self.place.log();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
        let lines: String = lines.iter().rev().map(|line| format!("\n  {line}")).collect();
        format!("{told}; its log, {}, ends with:{lines}", log.display())
    }
}

/// A data folder that was misspelt must not cost anybody anything else.
fn remove_agents(folder: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let ours = |name: &str| {
        ["agent.", "peer.", "group."].iter().any(|begin| name.starts_with(begin))
            || ["roots.pem", "boot", "left", "leave"].contains(&name)
    };
    let all = entries.iter().all(|entry| entry.file_name().to_str().is_some_and(ours));
    anyhow::ensure!(all, "it holds other things than an agent's");
    Ok(fs::remove_dir_all(folder)?)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
