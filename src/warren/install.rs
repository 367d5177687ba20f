//! `warren agent install` and `uninstall`: an agent as a service of a machine without Kubernetes.
//!
//! | module | what it is |
//! |---|---|
//! | `flags` | what can be typed |
//! | `place` | where what belongs to one agent stands |
//! | `settings` | what is given now over what is there, checked by the agent's own reader |
//! | `unit` | the unit of packaging/systemd with this machine's paths |
//! | `found` | what is on the machine |
//! | `plan`, `leave` | which steps bring about what is wanted: values, made without touching anything |
//! | `show`, `act` | such a plan in words, and carried out on a `machine` |
//! | `launchd` | what macOS would be given |
//! | `hide` | takes secrets off the command line |

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use warren_agent::Token;

use crate::{
    exit::Failure,
    output::{self, Format, talk},
};

mod act;
mod flags;
mod found;
mod hide;
mod launchd;
mod leave;
mod machine;
mod place;
mod plan;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod unit;

use act::{Acting, Serving};
use flags::{InstallArgs, Manager, UninstallArgs, WhichService};
use found::Found;
use machine::Machine;
use place::Place;
use plan::Plan;

pub(crate) use flags::ServiceVerb;
pub(crate) use hide::hide_secrets;

/// What an installation came to.
#[derive(Debug, Serialize)]
struct Installed<'a> {
    unit: &'a str,
    changes: &'a [String],
    agent: Option<&'a str>,
    group: Option<&'a str>,
    serves: bool,
}

/// What is left of one that was taken away.
#[derive(Debug, Serialize)]
struct Uninstalled<'a> {
    unit: &'a str,
    changes: &'a [String],
    agent: Option<&'a str>,
    left: bool,
}

pub(crate) async fn run(verb: ServiceVerb, format: Format) -> anyhow::Result<()> {
    match verb {
        ServiceVerb::Install(args) => install(*args, format).await,
        ServiceVerb::Uninstall(args) => uninstall(args, format).await,
    }
}

async fn install(args: InstallArgs, format: Format) -> anyhow::Result<()> {
    let (machine, place) = where_it_is(&args.which)?;
    let there = text_of(&machine, &place.config())?;
    let settings = settings::settle(&place, &args, there.as_deref())?;
    if args.manager == Some(Manager::Launchd) {
        return output::print(&launchd::sheet(&place, &settings.text));
    }
    let token = args.site.token.clone().filter(|token| !token.is_empty()).map(Token::from);
    let token = token.map(|token| read_token(&token)).transpose()?;
    let data_dir = settings.data_dir.clone();
    let found = Found::gather(&machine, &place, &data_dir).await?;
    tell_of_proxy(&args, &settings.text);
    let wish = plan::Wish { settings, token, start: !args.no_start, force: args.force };
    let plan = plan::install(&place, &wish, &found)?;
    if args.which.dry_run {
        return output::print(&show::whole(&plan));
    }
    let acting =
        Acting { machine: &machine, place: &place, wait: args.wait, data_dir: &data_dir, agent: found.agent };
    let serving = acting.carry_out(&plan).await?;
    told_installed(&place, &plan, serving.as_ref(), format)
}

fn told_installed(
    place: &Place,
    plan: &Plan,
    serving: Option<&Serving>,
    format: Format,
) -> anyhow::Result<()> {
    let unit = place.unit();
    let changes = &plan.changes;
    let view = Installed {
        unit: &unit,
        changes,
        agent: serving.map(|serving| serving.id.as_str()),
        group: serving.map(|serving| serving.group.as_str()),
        serves: serving.is_some(),
    };
    for change in changes {
        talk(format_args!("  changed: {change}"));
    }
    if changes.is_empty() {
        talk("  nothing was changed");
    }
    let told = match serving {
        Some(Serving { id, group }) => format!(
            "agent {id} serves in group {group}\nnext: `warren groups status {group}` where the gateway is administered; here `journalctl -u {unit}`, settings in {}",
            place.config().display()
        ),
        None => format!("installed, and not started: `systemctl start {unit}`"),
    };
    format.done(&view, told)
}

async fn uninstall(args: UninstallArgs, format: Format) -> anyhow::Result<()> {
    let (machine, place) = where_it_is(&args.which)?;
    let settings = text_of(&machine, &place.config())?.unwrap_or_default();
    let data_dir = settings::data_dir(&place, &settings)?;
    let found = Found::gather(&machine, &place, &data_dir).await?;
    let wish = leave::Wish {
        leave: args.leave,
        purge: args.purge,
        data_is_agents: is_agents(&machine.real(&data_dir))?,
        data_dir: data_dir.clone(),
    };
    let plan = leave::uninstall(&place, &wish, &found)?;
    if args.which.dry_run {
        return output::print(&show::whole(&plan));
    }
    let agent = found.agent.clone();
    let left = found.has_left || (args.leave && found.enrolled);
    let acting = Acting {
        machine: &machine,
        place: &place,
        wait: std::time::Duration::ZERO,
        data_dir: &data_dir,
        agent: found.agent,
    };
    acting.carry_out(&plan).await?;
    for change in &plan.changes {
        talk(format_args!("  changed: {change}"));
    }
    let unit = place.unit();
    let view = Uninstalled { unit: &unit, changes: &plan.changes, agent: agent.as_deref(), left };
    let told = match agent.as_deref().filter(|_| !left) {
        _ if plan.changes.is_empty() => format!("{unit} is not installed here, nothing was changed"),
        Some(id) => format!(
            "done; agent {id} is a member of its group still. If it is not to come back: `warren agents revoke {id}` where the gateway is administered"
        ),
        None => "done".to_owned(),
    };
    format.done(&view, told)
}

/// The machine, which must be one that can be worked on unless it is only looked at.
fn where_it_is(which: &WhichService) -> anyhow::Result<(Machine, Place)> {
    let machine = Machine::new(which.root.clone());
    if !which.dry_run {
        machine.check()?;
    }
    Ok((machine, Place { instance: which.instance.clone() }))
}

fn text_of(machine: &Machine, path: &Path) -> anyhow::Result<Option<String>> {
    let Some(file) = found::read(&machine.real(path))? else { return Ok(None) };
    String::from_utf8(file.content).map(Some).with_context(|| format!("`{}` is no text", path.display()))
}

fn read_token(token: &Token) -> anyhow::Result<String> {
    let text = token.read().with_context(|| match token.file() {
        Some(path) => format!("cannot read the token in `{}`", path.display()),
        None => "cannot read the token".to_owned(),
    })?;
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Failure::usage("the token is empty or more than one word").into());
    }
    Ok(text)
}

/// A data folder that was misspelt must not cost anybody anything else.
fn is_agents(folder: &Path) -> anyhow::Result<bool> {
    const OURS: [&str; 3] = ["agent.", "peer.", "group."];
    const WHOLE: [&str; 4] = ["roots.pem", "boot", "left", "leave"];
    // What is replaced whole is written beside first, where a crash may leave it.
    let draft = |name: &str| {
        name.strip_suffix(".new")
            .and_then(|name| name.rsplit_once('.'))
            .is_some_and(|(name, _)| WHOLE.contains(&name))
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => Err(error),
    };
    let entries = entries.with_context(|| format!("cannot read `{}`", folder.display()))?;
    let ours =
        |name: &str| OURS.iter().any(|begin| name.starts_with(begin)) || WHOLE.contains(&name) || draft(name);
    Ok(entries.iter().all(|entry| entry.file_name().to_str().is_some_and(ours)))
}

fn tell_of_proxy(args: &InstallArgs, settings: &str) {
    let variable = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .find(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
    let named = args.site.proxy.is_some() || settings.lines().any(|line| line.starts_with("proxy:"));
    if let Some(variable) = variable.filter(|_| !named) {
        talk(format_args!(
            "{variable} is set here and not for the service: give --proxy if the gateway is behind it"
        ));
    }
}
