//! `warren agent install` and `uninstall` on Windows: a service of its service manager.
//!
//! | module | what it is |
//! |---|---|
//! | `flags`, `settings` | as elsewhere: what can be typed, and what is given now over what is there |
//! | `place` | where what belongs to one agent stands |
//! | `step` | the steps, in words and carried out |
//! | `manager` | the service manager |

use std::{fs, io, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use warren_agent::{LEAVE_NOTE, Token};

use crate::{
    exit::Failure,
    output::{self, Format, talk},
};

mod flags;
#[path = "windows/manager.rs"]
mod manager;
#[path = "windows/place.rs"]
mod place;
mod settings;
#[path = "windows/step.rs"]
mod step;

use flags::{InstallArgs, UninstallArgs, WhichService};
use place::{PROGRAM, Place, STATE};
use step::{Acting, Step};

pub(crate) use flags::ServiceVerb;

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    service: String,
    agent: Option<String>,
    group: Option<String>,
}

/// The part of an agent's `agent.json` that is needed here.
#[derive(Debug, Deserialize)]
struct Facts {
    agent: String,
}

/// Nothing is hidden: on Windows only the same user and administrators see another program's command line.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn hide_secrets() -> anyhow::Result<()> {
    Ok(())
}

pub(crate) async fn run(verb: ServiceVerb, format: Format) -> anyhow::Result<()> {
    match verb {
        ServiceVerb::Install(args) => install(*args, format).await,
        ServiceVerb::Uninstall(args) => uninstall(args, format).await,
    }
}

async fn install(args: InstallArgs, format: Format) -> anyhow::Result<()> {
    let place = place_of(&args.which)?;
    if args.manager.is_some() {
        return Err(Failure::usage("--for shows services of other systems, and works on those").into());
    }
    let there = text_of(&place.config())?;
    let settings = settings::settle(&place, &args, there.as_deref())?;
    if !settings.changes.is_empty() && !args.force {
        let told = format!("settings that are there differ, use --force: {}", settings.changes.join("; "));
        return Err(Failure::new(crate::exit::Exit::Refused, told).into());
    }
    let mut steps = vec![Step::Stop, Step::Folder(STATE.into()), Step::Folder(settings.data_dir.clone())];
    let own = std::env::current_exe().context("cannot find the program itself")?;
    if own != Path::new(PROGRAM) {
        steps.push(Step::Copy { from: own, to: PROGRAM.into() });
    }
    steps.push(Step::Register);
    // Once it is registered the account is known; before the first secret is written.
    steps.extend([STATE.into(), settings.data_dir.clone()].map(Step::Protect));
    steps.extend(settings.ca.map(|ca| Step::Write(place.ca(), ca)));
    if let Some(token) = args.site.token.filter(|token| !token.is_empty()) {
        let text = Token::from(token).read().context("cannot read the token")?;
        steps.push(Step::Write(place.token(), text.into_bytes()));
    }
    steps.push(Step::Write(place.config(), settings.text.into_bytes()));
    if !args.no_start {
        steps.extend([Step::Start, Step::AwaitReady, Step::Remove(place.token())]);
    }
    if args.which.dry_run {
        return shown(&steps, &place);
    }
    let serving = Acting { place: &place, wait: args.wait }.carry_out(&steps).await?;
    let told = match &serving {
        Some(serving) => format!("agent {} serves in group {}", serving.id, serving.group),
        None => format!("installed, and not started: `net start {}`", place.service()),
    };
    let (agent, group) = serving.map(|serving| (serving.id, serving.group)).unzip();
    format.done(&Done { service: place.service(), agent, group }, told)
}

async fn uninstall(args: UninstallArgs, format: Format) -> anyhow::Result<()> {
    let place = place_of(&args.which)?;
    let settings = text_of(&place.config())?.unwrap_or_default();
    let data_dir = settings::data_dir(&place, &settings)?;
    let facts = text_of(&data_dir.join("agent.json"))?;
    let agent = facts.and_then(|text| serde_json::from_str(&text).ok()).map(|facts: Facts| facts.agent);
    let mut steps = Vec::new();
    if let Some(id) = agent.clone().filter(|_| args.leave) {
        steps.push(Step::Write(data_dir.join(LEAVE_NOTE), Vec::new()));
        steps.push(Step::Stop);
        steps.push(Step::CheckLeft { note: data_dir.join("left"), id });
    }
    steps.extend([Step::Stop, Step::Unregister, Step::Remove(place.ready_file())]);
    if args.purge {
        steps.extend(place.files().map(Step::Remove));
        steps.push(Step::RemoveAgents(data_dir));
    }
    if args.which.dry_run {
        return shown(&steps, &place);
    }
    Acting { place: &place, wait: std::time::Duration::ZERO }.carry_out(&steps).await?;
    let told = match agent.as_deref().filter(|_| !args.leave) {
        Some(id) => format!(
            "done; agent {id} is a member of its group still. If it is not to come back: `warren agents revoke {id}` where the gateway is administered"
        ),
        None => "done".to_owned(),
    };
    format.done(&Done { service: place.service(), agent, group: None }, told)
}

fn place_of(which: &WhichService) -> anyhow::Result<Place> {
    if which.root.is_some() {
        return Err(Failure::usage("--root is not known on Windows").into());
    }
    Ok(Place { instance: which.instance.clone() })
}

fn shown(steps: &[Step], place: &Place) -> anyhow::Result<()> {
    for step in steps {
        output::print(&step.line(place))?;
    }
    talk(format_args!("nothing was done"));
    Ok(())
}

fn text_of(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}
