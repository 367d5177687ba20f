use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Place, binary::warren_in, eventually};

/// Debug binaries on a busy machine start slowly; a healthy one is ready in well under a second.
const READY_MAX: Duration = Duration::from_secs(40);

/// One process of the real binary, with its own directory, log and ready file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ready_file: PathBuf,
}

impl Process {
    /// Starts `warren ARGS… --ready-file F` in `dir`; the log is appended to, so that a restart keeps the story.
    pub fn start(name: &str, dir: &Path, args: &[String], place: &Place) -> Self {
        fs::create_dir_all(dir).expect("the test's directory can be written");
        let ready_file = dir.join("ready.json");
        let _ = fs::remove_file(&ready_file);
        let log = dir.join("log");
        let output = File::options().create(true).append(true).open(&log).expect("a log can be written");
        let mut command = warren_in(place);
        command.args(args).arg("--ready-file").arg(&ready_file);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file handle")).stderr(output);
        let child = command.spawn().expect("the binary starts");
        Self { name: name.to_owned(), child, log, ready_file }
    }

    /// What the process wrote when it was ready; panics with its log if it ends or takes too long.
    pub fn ready(&mut self) -> Value {
        let (ready, _) = eventually(&format!("{} is ready", self.name), READY_MAX, || {
            if let Some(status) = self.exited() {
                panic!("{} ended with {status} before it was ready:\n{}", self.name, self.log());
            }
            let text = fs::read_to_string(&self.ready_file).ok()?;
            Some(serde_json::from_str(&text).expect("a ready file is written whole"))
        });
        ready
    }

    /// An address that it told when it was ready, such as `metrics`.
    pub fn address(&mut self, name: &str) -> SocketAddr {
        let ready = self.ready();
        let address = ready[name].as_str().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address `{name}` in {ready}"))
    }

    pub fn is_ready(&self) -> bool {
        self.ready_file.exists()
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually(&format!("{} ends", self.name), deadline, || self.exited()).0
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said, over all of its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), signal).expect("a child can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
