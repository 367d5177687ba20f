//! What a scenario needs of the machine, and what it does where that cannot be had.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Something that the harness cannot bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A program on the path.
    Program(&'static str),
    Root,
    /// Network and mount namespaces of our own; takes root, util-linux and iproute2.
    Namespaces,
    /// The library that shows a process another time.
    FakeTime,
}

/// Whether all of it is here. Where it is not, a scenario [`skip`]s.
pub fn are_here(needs: &[Need]) -> bool {
    let missing = missing(needs);
    missing.iter().for_each(|missing| skip(missing));
    missing.is_none()
}

/// What of it is missing, in words.
pub fn missing(needs: &[Need]) -> Option<String> {
    let missing: Vec<_> = needs.iter().filter_map(|need| need.missing()).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Says why a scenario is passed over; where `WARREN_TEST_ALL` is set, as in CI, none may be, and it panics.
pub fn skip(why: &str) {
    assert!(!is_all_wanted(), "skipped, though WARREN_TEST_ALL is set: {why}");
    pass_over(why);
}

/// As [`skip`], for what CI lacks, too.
pub fn pass_over(why: &str) {
    #[expect(clippy::print_stderr, reason = "for whoever reads why a scenario was passed over")]
    {
        eprintln!("skipped: {why}");
    }
}

/// Whether nothing may be passed over.
pub fn is_all_wanted() -> bool {
    env::var_os("WARREN_TEST_ALL").is_some()
}

impl Need {
    /// What is missing, in words.
    fn missing(self) -> Option<String> {
        let (is_here, what) = match self {
            Self::Program(name) => (find(name).is_some(), format!("{name} is not installed")),
            Self::Root => (rustix::process::geteuid().is_root(), "only root may".to_owned()),
            Self::Namespaces => (namespaces(), "no namespaces of our own can be had".to_owned()),
            Self::FakeTime => (fake_time().is_some(), "libfaketime is not installed".to_owned()),
        };
        (!is_here).then_some(what)
    }
}

/// Where libfaketime for programs with threads stands.
pub(crate) fn fake_time() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let places = folders.map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|place| place.exists())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Those of administrators are not on everybody's path.
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.exists())
}

fn namespaces() -> bool {
    let mut tried = Command::new("unshare");
    tried.args(["--net", "--mount", "--", "ip", "link", "set", "lo", "up"]).stdin(Stdio::null());
    tried.stdout(Stdio::null()).stderr(Stdio::null());
    tried.status().is_ok_and(|status| status.success())
}
