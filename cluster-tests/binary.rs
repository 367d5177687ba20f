use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::Place;

/// What the program reads from its environment besides `WARREN_*`.
const PLAIN_NAMES: [&str; 10] = [
    "REGISTRATION_JWT",
    "NAME",
    "APP_HOST",
    "APP_PORT",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The binary under test: `WARREN_BIN` if set, otherwise built from this workspace with the profile of the tests.
pub fn warren_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("WARREN_BIN").map_or_else(build, PathBuf::from))
}

/// The binary, about to run. The environment of whoever runs the tests does not leak into it.
pub fn warren() -> Command {
    warren_in(&Place::default())
}

/// As [`warren`], somewhere else.
pub(crate) fn warren_in(place: &Place) -> Command {
    let binary = place.binary.as_deref().unwrap_or_else(|| warren_binary());
    let mut command = match &*place.prefix {
        [] => Command::new(binary),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(binary);
            command
        }
    };
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("WARREN_") || PLAIN_NAMES.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command.envs(place.env.iter().cloned());
    command
}

/// `cargo test` builds a package's binary for that package's tests only, so this package asks for it.
fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let release = !cfg!(debug_assertions);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&workspace).args(["build", "--quiet", "--package", "warren", "--bin", "warren"]);
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs, it runs this test");
    assert!(status.success(), "cargo build of the warren binary failed");
    // A test stands in <target>/<profile>/deps, a program of this package in <target>/<profile>.
    let executable = env::current_exe().expect("this program has a path");
    let dir = executable.parent().expect("a program stands in a folder");
    let profile = if dir.ends_with("deps") { dir.parent().expect("deps stands in a profile") } else { dir };
    profile.join("warren")
}
