//! Where programs are found, and how the bench gets those that it can build itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// Where servers stand that are not for everybody's PATH.
const SYSTEM_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

#[derive(Debug)]
pub(crate) struct Tools {
    /// Searched in this order.
    dirs: Vec<PathBuf>,
    /// Root of what the bench installs: programs go to `bin` below it.
    own: PathBuf,
    install: bool,
}

impl Tools {
    /// `bin_dirs` go before the PATH. Without `install` nothing is built.
    pub(crate) fn new(bin_dirs: &[PathBuf], install: bool) -> Result<Self> {
        let executable = env::current_exe().context("the bench has a path")?;
        // <target>/<profile>/bench
        let target = executable.ancestors().nth(2).context("the bench stands in target/profile")?;
        let own = target.join("bench-peers");
        let mut dirs = bin_dirs.to_vec();
        dirs.push(own.join("bin"));
        dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        dirs.extend(SYSTEM_DIRS.map(PathBuf::from));
        Ok(Self { dirs, own, install })
    }

    /// The program, or an error that says where it was looked for.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf> {
        let found = self.dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
        found.with_context(|| format!("no {program} on the PATH or in a --bin-dir"))
    }

    /// The program; if there is none, what `build` makes of it. `build` is given the folder to install into.
    pub(crate) fn find_or_build(
        &self,
        program: &str,
        build: impl FnOnce(&Path) -> Command,
    ) -> Result<PathBuf> {
        let missing = match self.find(program) {
            Ok(path) => return Ok(path),
            Err(missing) => missing,
        };
        if !self.install {
            return Err(missing);
        }
        let mut command = build(&self.own);
        eprintln!("building {program}, once: {command:?}");
        let output = command.output().with_context(|| format!("{program} cannot be built"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().find(|line| line.contains("error")).or_else(|| errors.lines().last());
            bail!("{program} cannot be built: {}", error.unwrap_or("no reason was given").trim());
        }
        self.find(program)
    }
}

/// The first line with a digit that the program prints about its version.
pub(crate) fn version(program: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("{} does not start", program.display()))?;
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
    Ok(line.unwrap_or("unknown").trim().to_owned())
}

/// Runs a helper to its end, which must be a success.
pub(crate) fn run(program: &Path, args: &[&str], dir: &Path) -> Result<()> {
    let output = Command::new(program).args(args).current_dir(dir).output();
    let output = output.with_context(|| format!("{} does not start", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {args:?} failed: {errors}", program.display());
    Ok(())
}
