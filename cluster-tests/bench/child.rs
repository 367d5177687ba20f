//! Processes of the bench: peers, and parts of the bench itself. Each ends with its handle, descendants included.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use warren_cluster_tests::hold;

use crate::{HELD, usage};

/// How much of a log goes into an error.
const TAIL: usize = 400;
/// Between two looks at a child.
const PAUSE: Duration = Duration::from_millis(10);

/// A program that runs until the handle is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts it with its output in `dir`/`name`.log.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// An error with the end of its log if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended with {status}: {}", self.name, tail(&self.log)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// `bench target` or `bench relay`; it ends when its stdin does, so it does not survive the bench either.
#[derive(Debug)]
pub(crate) struct Part {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Part {
    pub(crate) fn start(args: &[String]) -> Result<Self> {
        let mut process = this_program(args)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting bench {args:?}"))?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("the part has an output")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        match read.map_err(anyhow::Error::from).and_then(|_| Ok(line.trim().parse()?)) {
            Ok(address) => Ok(Self { process, address }),
            Err(error) => {
                end(&mut process);
                Err(error.context(format!("bench {args:?} told no address")))
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Runs `bench load …` to its end, at most `limit`, and reads the object that it prints.
pub(crate) fn load(args: &[String], limit: Duration) -> Result<Value> {
    Load::start(args, limit)?.result()
}

/// A load that is under way.
#[derive(Debug)]
pub(crate) struct Load {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    errors: tempfile::NamedTempFile,
    deadline: Instant,
}

impl Load {
    pub(crate) fn start(args: &[String], limit: Duration) -> Result<Self> {
        let errors = tempfile::NamedTempFile::new()?;
        let mut process = this_program(&["load".to_owned()])?
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen()?)
            .spawn()?;
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().context("a load has an output")?);
        Ok(Self { process, stdin, stdout, errors, deadline: Instant::now() + limit })
    }

    /// Waits until an idle load holds its sessions.
    pub(crate) fn held(&mut self) -> Result<()> {
        // The load bounds each of its own steps, so that this line, or the end of the output, comes.
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim() == HELD, "the sessions cannot be held: {}", tail(self.errors.path()));
        Ok(())
    }

    /// Lets an idle load go on.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.stdin.take().context("it was released already")?.write_all(b"\n")?;
        Ok(())
    }

    pub(crate) fn result(mut self) -> Result<Value> {
        // What a load prints fits into the pipe, so that it can end before anybody reads.
        while self.process.try_wait()?.is_none() {
            ensure!(Instant::now() < self.deadline, "a load does not end in time");
            hold("the load runs", PAUSE, || true);
        }
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed)?;
        serde_json::from_str(&printed).map_err(|_| anyhow!("{}", tail(self.errors.path())))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn this_program(args: &[String]) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("the bench has a path")?);
    command.args(args);
    Ok(command)
}

/// Kills the process with its descendants, and waits for it.
fn end(process: &mut Process) {
    if let Ok(None) = process.try_wait() {
        for pid in usage::with_descendants(&[process.id()]) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    let _ = process.wait();
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let text = text.trim();
    let from = (text.len().saturating_sub(TAIL)..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[from..].replace('\n', " | ")
}
