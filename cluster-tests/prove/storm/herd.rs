//! Agents by the hundred in one process: `examples/herd.rs` of the agent's crate.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// What a herd has told last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Agents that run.
    pub(super) agents: u64,
    /// Agents with at least one verified tunnel.
    pub(super) reached: u64,
    pub(super) tunnels: u64,
}

/// One process of agents. Ends when dropped.
#[derive(Debug)]
pub(super) struct Herd {
    child: Child,
    counts: Arc<Mutex<Counts>>,
}

impl Herd {
    pub(super) fn start(
        gateway: &str,
        ca: &str,
        tokens: &Path,
        dir: &Path,
        first: usize,
        count: usize,
    ) -> Self {
        let log = std::fs::File::create(dir.join(format!("herd-{first}.log"))).expect("a log can be written");
        let mut command = Command::new(binary());
        command.arg(gateway).arg(ca).arg(tokens).arg(dir).arg(first.to_string()).arg(count.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("a herd starts");
        let counts = Arc::new(Mutex::new(Counts::default()));
        let (told, lines) = (counts.clone(), BufReader::new(child.stdout.take().expect("it is piped")));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Counts::read(&line);
            }
        });
        Self { child, counts }
    }

    pub(super) fn counts(&mut self) -> Counts {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("a herd ended with {status}");
        }
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Counts {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            agents: self.agents + other.agents,
            reached: self.reached + other.reached,
            tunnels: self.tunnels + other.tunnels,
        }
    }

    fn read(line: &str) -> Self {
        let line: serde_json::Value = serde_json::from_str(line).expect("a herd prints JSON");
        let count = |name: &str| line[name].as_u64().expect("a herd prints counts");
        Self { agents: count("agents"), reached: count("reached"), tunnels: count("tunnels") }
    }
}

/// `WARREN_HERD` if set, otherwise built from this workspace with the profile of this program.
fn binary() -> PathBuf {
    if let Some(path) = env::var_os("WARREN_HERD") {
        return path.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let release = !cfg!(debug_assertions);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&workspace).args([
        "build",
        "--quiet",
        "--package",
        "warren-agent",
        "--example",
        "herd",
    ]);
    if release {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the herd is built");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join(if release { "release" } else { "debug" }).join("examples/herd")
}
