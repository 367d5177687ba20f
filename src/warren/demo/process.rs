//! One of the demo's own processes: its folder, its log, its ready file.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::ready;

#[cfg_attr(windows, path = "process/windows.rs")]
mod system;

const READY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
const STOP: Duration = Duration::from_secs(3);
/// How many last lines of a log are told when its process fails.
const LOG_LINES: usize = 8;

/// A running `warren gateway` or `warren agent`. It ends with this value, and also when the demo itself is killed,
/// because its stdin ends then.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ready_file: PathBuf,
}

/// Begins an executable of ours in `folder`, which also takes its log.
pub(super) fn start(folder: &Path, name: &str, role: &str, arguments: &[String]) -> anyhow::Result<Process> {
    let program = system::own_program()?;
    let (log, ready_file) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.ready")));
    ready::clear(&ready_file)?;
    let mut command = Command::new(program);
    // Settings of the person who runs the demo are not for its processes.
    let own = |name: &str| name.starts_with("WARREN_");
    let strangers = ["REGISTRATION_JWT", "NAME", "APP_HOST", "APP_PORT"];
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|name| own(name) || strangers.contains(&name)) {
            command.env_remove(variable);
        }
    }
    command
        .arg(role)
        .args(["--data-dir".as_ref(), folder.join(name).as_os_str()])
        .args(["--ready-file".as_ref(), ready_file.as_os_str()])
        .args(["--metrics", "127.0.0.1:0", "--stop-with-stdin"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(open_log(&log).with_context(|| format!("cannot write `{}`", log.display()))?)
        .kill_on_drop(true);
    // Ctrl-C on the terminal is for the demo, which then ends them.
    system::own_group(&mut command);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(Process { name: name.to_owned(), child, log, ready_file })
}

impl Process {
    /// What the process wrote when it began to serve.
    pub(super) async fn ready<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let deadline = Instant::now() + READY;
        loop {
            match std::fs::read(&self.ready_file) {
                Ok(text) => {
                    return serde_json::from_slice(&text)
                        .with_context(|| format!("cannot understand the ready file of {}", self.name));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read the ready file of {}", self.name));
                }
            }
            if let Some(status) = self.child.try_wait().context("cannot ask after a process")? {
                bail!("{} ended with {status} before it was ready{}", self.name, self.last_lines());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {} s{}", self.name, READY.as_secs(), self.last_lines());
            }
            sleep(LOOK).await;
        }
    }

    /// Kills it, and waits until the process is gone and its sockets with it.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks it to end, and kills it if that takes too long.
    pub(super) async fn stop(&mut self) {
        if self.child.id().is_none() {
            return;
        }
        system::ask_to_end(&mut self.child);
        if timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
        if lines.is_empty() {
            return ", its log is empty".into();
        }
        let told: String = lines.iter().rev().map(|line| format!("\n  {line}")).collect();
        format!(", its log ends with:{told}")
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
