//! Carries a plan out, step by step, and says which one failed.

use std::{fs, io, path::Path, time::Duration};

use anyhow::Context;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    found,
    machine::Machine,
    place::{LEFT, Place},
    plan::{Plan, Step},
    show,
};
use crate::{
    exit::{Exit, Failure},
    output::talk,
};

const LOOK: Duration = Duration::from_millis(200);
/// Longer than a start that goes on and fails again takes to be told apart from one that serves.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// What a plan is carried out for.
#[derive(Debug)]
pub(super) struct Acting<'a> {
    pub(super) machine: &'a Machine,
    pub(super) place: &'a Place,
    pub(super) wait: Duration,
    pub(super) data_dir: &'a Path,
    /// The agent's id, if it has one.
    pub(super) agent: Option<String>,
}

/// Who serves, from the agent's ready file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Serving {
    pub(super) id: String,
    pub(super) group: String,
}

impl Acting<'_> {
    /// Who serves afterwards, if the plan waits for that.
    pub(super) async fn carry_out(&self, plan: &Plan) -> anyhow::Result<Option<Serving>> {
        let count = plan.steps.len();
        let mut serving = None;
        for (index, step) in plan.steps.iter().enumerate() {
            talk(format_args!("[{}/{count}] {}", index + 1, show::line(step)));
            match step {
                Step::AwaitReady => serving = Some(self.await_ready().await?),
                Step::CheckLeft => self.check_left().await?,
                step => self.one(step).await.with_context(|| {
                    format!(
                        "step {} of {count} failed: {} (run the same command again once that is mended)",
                        index + 1,
                        show::line(step)
                    )
                })?,
            }
        }
        Ok(serving)
    }

    async fn one(&self, step: &Step) -> anyhow::Result<()> {
        let machine = self.machine;
        match step {
            Step::Folder { path, mode, owner } => machine.folder(path, *mode, *owner).await,
            Step::Write { path, mode, owner, content } => machine.write(path, *mode, *owner, content).await,
            Step::Note(path) => machine.note(path).await,
            Step::Remove(path) => Ok(machine.remove(path)?),
            Step::RemoveFolder(path) => Ok(machine.remove_folder(path)?),
            Step::RemoveIfEmpty(path) => match fs::remove_dir(machine.real(path)) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    Err(error.into())
                }
                _ => Ok(()),
            },
            Step::Run(words) => match machine.run(words).await {
                Err(error) if words.iter().any(|word| word == "restart") => {
                    Err(error.context(self.with_log("the service did not start".to_owned()).await))
                }
                ended => ended,
            },
            Step::AwaitReady | Step::CheckLeft => unreachable!("waits are not acts"),
        }
    }

    /// Until the agent has written its ready file. What its log says meanwhile is passed on.
    async fn await_ready(&self) -> anyhow::Result<Serving> {
        let unit = self.place.unit();
        let path = self.machine.real(&self.place.ready_file());
        let deadline = Instant::now() + self.wait;
        let (mut told, mut tell_at) = (String::new(), Instant::now() + TELL_EVERY);
        loop {
            if let Some(serving) = read_ready(&path)? {
                return Ok(serving);
            }
            let state = self.machine.state(&unit).await?;
            if state.is_failed() {
                let exit = match state.status {
                    Some(2) => Exit::Usage,
                    Some(3) => Exit::Refused,
                    _ => Exit::Failed,
                };
                let told = self.with_log(format!("{unit} ended and is not started again")).await;
                return Err(Failure::new(exit, told).into());
            }
            if Instant::now() > deadline {
                let told = format!(
                    "{unit} does not serve after {:?}; it is installed and goes on trying (`systemctl status {unit}`)",
                    self.wait
                );
                return Err(Failure::unreachable(self.with_log(told).await).into());
            }
            if Instant::now() > tell_at {
                tell_at = Instant::now() + TELL_EVERY;
                let newest = self.machine.log(&unit).await.pop().unwrap_or_default();
                if !newest.is_empty() && newest != told {
                    talk(format_args!("      {newest}"));
                    told = newest;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// An agent that was not let go is wanted by its group: it goes on.
    async fn check_left(&self) -> anyhow::Result<()> {
        let left = found::read(&self.machine.real(&self.data_dir.join(LEFT)))?;
        if let (Some(left), Some(agent)) = (left, &self.agent)
            && left.content.trim_ascii() == agent.as_bytes()
        {
            return Ok(());
        }
        let unit = self.place.unit();
        let told = self.with_log("the group did not let the agent go, it is started again".to_owned()).await;
        self.machine.run(&["systemctl", "start", &unit]).await?;
        Err(Failure::new(Exit::Refused, told).into())
    }

    async fn with_log(&self, told: String) -> String {
        let unit = self.place.unit();
        let lines = self.machine.log(&unit).await;
        if lines.is_empty() {
            return format!("{told}; its log: journalctl -u {unit}");
        }
        let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
        format!("{told}, its log ends with:{lines}")
    }
}

fn read_ready(path: &Path) -> anyhow::Result<Option<Serving>> {
    let Some(file) = found::read(path)? else { return Ok(None) };
    serde_json::from_slice(&file.content)
        .map(Some)
        .with_context(|| format!("cannot understand `{}`", path.display()))
}
