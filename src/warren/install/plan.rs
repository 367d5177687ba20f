//! What is done to install or uninstall, in which order: a value, made from what is wanted and what is there.

use std::path::{Path, PathBuf};

use super::{
    found::{File, Found},
    place::{PACKAGED_PROGRAM, PACKAGED_SYSUSERS, PROGRAM, Place, SETTINGS, STATE, SYSUSERS, USER},
    settings::Settings,
    unit,
};
use crate::exit::{Exit, Failure};

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Root,
    /// Root's, and the service's group may read it.
    RootForService,
    Service,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// Never shown.
    Secret(String),
    /// A copy of this file.
    Copy(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Folder {
        path: PathBuf,
        mode: u32,
        owner: Owner,
    },
    Write {
        path: PathBuf,
        mode: u32,
        owner: Owner,
        content: Content,
    },
    /// An empty file in a folder of the service, made by its user: root must not write where others choose the names.
    Note(PathBuf),
    Remove(PathBuf),
    /// With all that is in it.
    RemoveFolder(PathBuf),
    RemoveIfEmpty(PathBuf),
    Run(Vec<String>),
    /// Until the service serves.
    AwaitReady,
    /// Whether the agent that has stopped has left its group; if not, it is started again and nothing more is done.
    CheckLeft,
}

/// The steps, and in words what is different afterwards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) changes: Vec<String>,
}

/// What `warren agent install` is to bring about.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) settings: Settings,
    pub(super) token: Option<String>,
    pub(super) start: bool,
    pub(super) force: bool,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({text:?})"),
            Self::Secret(_) => f.write_str("Secret(…)"),
            Self::Copy(from) => write!(f, "Copy({})", from.display()),
        }
    }
}

pub(super) fn install(place: &Place, wish: &Wish, found: &Found) -> Result<Plan, Failure> {
    refuse(place, wish, found)?;
    let (program, copies) = program(found);
    let mut plan = Plan::default();
    user(found, &mut plan);
    let restarts_for = plan.steps.len();
    settings(place, wish, found, &mut plan);
    if copies && !found.program_is_there {
        let content = Content::Copy(found.program.clone());
        plan.steps.push(Step::Write { path: program.clone(), mode: 0o755, owner: Owner::Root, content });
        plan.changes.push(format!("program {}", program.display()));
    }
    let before_units = plan.steps.len();
    units(place, wish, found, &program, &mut plan);
    if plan.steps.len() > before_units || found.unread {
        plan.steps.push(systemctl(&["daemon-reload"]));
    }
    let differs = plan.steps.len() > restarts_for;
    if hides_the_package(place, found) {
        // It was enabled where it stood.
        plan.steps.push(systemctl(&["reenable", &place.unit()]));
    } else if !found.enabled {
        plan.steps.push(systemctl(&["enable", &place.unit()]));
        plan.changes.push(format!("{} starts with the machine", place.unit()));
    }
    // A token is for those that are not in yet, or not any more.
    let token = wish.token.as_ref().filter(|_| !found.ready);
    if let Some(token) = token {
        let write = Step::Write {
            path: place.token(),
            mode: 0o600,
            owner: Owner::Service,
            content: Content::Secret(format!("{token}\n")),
        };
        plan.steps.push(write);
    }
    if wish.start {
        if differs || token.is_some() || !found.active || found.stale {
            plan.steps.push(systemctl(&["restart", &place.unit()]));
            plan.changes.push(format!(
                "{} {}",
                place.unit(),
                if found.active { "restarted" } else { "started" }
            ));
        }
        plan.steps.push(Step::AwaitReady);
        if token.is_some() || found.files.contains_key(&place.token()) {
            plan.steps.push(Step::Remove(place.token()));
        }
    }
    Ok(plan)
}

/// What stands against an installation.
fn refuse(place: &Place, wish: &Wish, found: &Found) -> Result<(), Failure> {
    let data_dir = &wish.settings.data_dir;
    if ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].iter().any(|hidden| data_dir.starts_with(hidden)) {
        let told = format!(
            "the service cannot see `{}`: choose a --data-dir outside of homes and temporary folders",
            data_dir.display()
        );
        return Err(Failure::usage(told));
    }
    if !found.enrolled
        && wish.token.is_none()
        && !found.files.contains_key(&place.token())
        && !names_a_token(place, &wish.settings.text)
    {
        return Err(Failure::usage(
            "this agent is not enrolled yet: give --token @FILE, made by `warren tokens create --group GROUP`",
        ));
    }
    if wish.force {
        return Ok(());
    }
    let refused =
        |told: String| Err(Failure::new(Exit::Refused, format!("{told}; --force does it all the same")));
    if found.person {
        return refused(format!(
            "the user {USER} of this machine is somebody's account, who would have the agent's key: rename it"
        ));
    }
    if found.packaged && found.program != Path::new(PACKAGED_PROGRAM) {
        return refused(format!(
            "a package has installed {PACKAGED_PROGRAM} here: run that one, and upgrade the package"
        ));
    }
    let strange = found.text(&place.unit_file()).filter(|text| !unit::is_ours(text));
    if strange.is_some() && !of_package(place, found) {
        return refused(format!("`{}` is somebody else's", place.unit_file().display()));
    }
    let mut changes = wish.settings.changes.clone();
    let ca = wish.settings.ca.as_ref().zip(found.files.get(&place.ca()));
    if ca.is_some_and(|(given, there)| *given != there.content) {
        changes.push(format!("{}: another root", place.ca().display()));
    }
    match changes.as_slice() {
        [] => Ok(()),
        changes => {
            refused(format!("an agent with other settings is installed here ({})", changes.join("; ")))
        }
    }
}

/// A token that the settings hold, or name elsewhere than where this program puts it.
fn names_a_token(place: &Place, settings: &str) -> bool {
    let own = place.token().display().to_string();
    settings.lines().any(|line| line.starts_with("token:") && !line.contains(&own))
}

/// Where the service finds its program, and whether it has to be copied there.
fn program(found: &Found) -> (PathBuf, bool) {
    if [PACKAGED_PROGRAM, PROGRAM].iter().any(|path| found.program == Path::new(path)) {
        (found.program.clone(), false)
    } else {
        (PathBuf::from(PROGRAM), true)
    }
}

fn user(found: &Found, plan: &mut Plan) {
    if found.files.contains_key(Path::new(PACKAGED_SYSUSERS)) {
        if found.service.is_none() {
            plan.steps.push(run(&["systemd-sysusers", PACKAGED_SYSUSERS]));
            plan.changes.push(format!("user {USER}"));
        }
        return;
    }
    let wrote = write(found, plan, Path::new(SYSUSERS), 0o644, Owner::Root, unit::SYSUSERS.to_owned());
    if wrote || found.service.is_none() {
        plan.steps.push(run(&["systemd-sysusers", SYSUSERS]));
        plan.changes.push(format!("user {USER}"));
    }
}

fn settings(place: &Place, wish: &Wish, found: &Found, plan: &mut Plan) {
    if !found.folders.contains(Path::new(SETTINGS)) {
        plan.steps.push(Step::Folder { path: SETTINGS.into(), mode: 0o755, owner: Owner::Root });
    }
    if let Some(ca) = &wish.settings.ca {
        // Checked to be PEM, which is text.
        let text = String::from_utf8_lossy(ca).into_owned();
        if write(found, plan, &place.ca(), 0o644, Owner::Root, text) {
            plan.changes.push(format!("root {}", place.ca().display()));
        }
    }
    let text = wish.settings.text.clone();
    let former = found.text(&place.config()).filter(|former| *former != text && has_settings(former));
    if let Some(former) = former {
        write(found, plan, &place.former_config(), 0o640, Owner::RootForService, former.to_owned());
    }
    if write(found, plan, &place.config(), 0o640, Owner::RootForService, text) {
        let told = match wish.settings.changes.as_slice() {
            [] => String::new(),
            changes => format!(" ({})", changes.join("; ")),
        };
        plan.changes.push(format!("settings {}{told}", place.config().display()));
    }
    let data_dir = &wish.settings.data_dir;
    if !data_dir.starts_with(STATE) && !found.folders.contains(data_dir) {
        plan.steps.push(Step::Folder { path: data_dir.clone(), mode: 0o700, owner: Owner::Service });
        plan.changes.push(format!("folder {}", data_dir.display()));
    }
}

fn has_settings(text: &str) -> bool {
    text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// Whether the unit is that of a package, which nobody else writes.
fn of_package(place: &Place, found: &Found) -> bool {
    found.packaged && place.instance.is_none() && found.program == Path::new(PACKAGED_PROGRAM)
}

/// Whether a unit of the time before the package stands in the way of the package's, and would go on with the old program.
fn hides_the_package(place: &Place, found: &Found) -> bool {
    of_package(place, found) && found.text(&place.unit_file()).is_some_and(unit::is_ours)
}

fn units(place: &Place, wish: &Wish, found: &Found, program: &Path, plan: &mut Plan) {
    let unit = place.unit_file();
    if hides_the_package(place, found) {
        plan.changes.push(format!("unit {} removed, the package's counts", unit.display()));
        plan.steps.push(Step::Remove(unit));
    } else if !of_package(place, found) {
        let text = unit::text(place, program);
        if write(found, plan, &unit, 0o644, Owner::Root, text) {
            plan.changes.push(format!("unit {}", unit.display()));
        }
    }
    let (drop_in, data_dir) = (place.drop_in(), &wish.settings.data_dir);
    if data_dir.starts_with(STATE) {
        if found.files.contains_key(&drop_in) {
            plan.steps.push(Step::Remove(drop_in));
        }
        return;
    }
    let folder = drop_in.parent().unwrap_or(&drop_in);
    if !found.folders.contains(folder) {
        plan.steps.push(Step::Folder { path: folder.to_owned(), mode: 0o755, owner: Owner::Root });
    }
    if write(found, plan, &drop_in, 0o644, Owner::Root, unit::drop_in(data_dir)) {
        plan.changes.push(format!("unit may write {}", data_dir.display()));
    }
}

/// Adds the step unless the file is there as it should be; whether it was added.
fn write(found: &Found, plan: &mut Plan, path: &Path, mode: u32, owner: Owner, text: String) -> bool {
    let right = |file: &File| file.content == text.as_bytes() && file.mode == mode && found.owns(owner, file);
    if found.files.get(path).is_some_and(right) {
        return false;
    }
    plan.steps.push(Step::Write { path: path.to_owned(), mode, owner, content: Content::Text(text) });
    true
}

pub(super) fn systemctl(args: &[&str]) -> Step {
    Step::Run(std::iter::once("systemctl").chain(args.iter().copied()).map(str::to_owned).collect())
}

pub(super) fn run(words: &[&str]) -> Step {
    Step::Run(words.iter().map(|word| (*word).to_owned()).collect())
}
