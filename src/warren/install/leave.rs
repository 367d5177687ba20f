//! What is done to uninstall.

use std::path::{Path, PathBuf};

use warren_agent::LEAVE_NOTE;

use super::{
    found::Found,
    place::{PROGRAM, Place, SETTINGS, STATE, SYSUSERS, USER},
    plan::{Plan, Step, run, systemctl},
};
use crate::exit::{Exit, Failure};

/// What `warren agent uninstall` is to bring about.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) leave: bool,
    pub(super) purge: bool,
    pub(super) data_dir: PathBuf,
    /// The data folder holds an agent's files and nothing that is not.
    pub(super) data_is_agents: bool,
}

pub(super) fn uninstall(place: &Place, wish: &Wish, found: &Found) -> Result<Plan, Failure> {
    let unit = place.unit();
    let own_unit = found.files.contains_key(&place.unit_file());
    let mut plan = Plan::default();
    if wish.leave && found.enrolled {
        if !found.active {
            let told = format!(
                "{unit} does not run, so its agent cannot leave by itself: start it, or do without --leave and revoke it"
            );
            return Err(Failure::new(Exit::Refused, told));
        }
        plan.steps.push(Step::Note(wish.data_dir.join(LEAVE_NOTE)));
        plan.steps.push(systemctl(&["stop", &unit]));
        plan.steps.push(Step::CheckLeft);
        plan.changes.push("the agent has left its group for good".to_owned());
    }
    if own_unit || found.enabled || found.active {
        plan.steps.push(systemctl(&["disable", "--now", &unit]));
        plan.changes.push(format!("{unit} stopped, and does not start with the machine"));
    }
    if found.failed {
        plan.steps.push(systemctl(&["reset-failed", &unit]));
    }
    let before_units = plan.steps.len();
    let drop_in = place.drop_in();
    if found.files.contains_key(&drop_in) {
        let folder = drop_in.parent().map(Path::to_owned);
        plan.steps.push(Step::Remove(drop_in));
        // People's own may stand beside it.
        plan.steps.extend(folder.map(Step::RemoveIfEmpty));
    }
    if own_unit {
        plan.steps.push(Step::Remove(place.unit_file()));
        plan.changes.push(format!("unit {} removed", place.unit_file().display()));
    }
    if plan.steps.len() > before_units {
        plan.steps.push(systemctl(&["daemon-reload"]));
    }
    // The token is of no use without the service, and a danger.
    if found.files.contains_key(&place.token()) {
        plan.steps.push(Step::Remove(place.token()));
    }
    if wish.purge {
        purge(place, wish, found, &mut plan)?;
    }
    Ok(plan)
}

/// In an order that can be gone on with after a step that failed: what tells of the others goes last.
fn purge(place: &Place, wish: &Wish, found: &Found, plan: &mut Plan) -> Result<(), Failure> {
    if found.folders.contains(&wish.data_dir) {
        if !wish.data_is_agents {
            let told = format!(
                "`{}` holds more than an agent's data: remove it by hand, then uninstall without --purge",
                wish.data_dir.display()
            );
            return Err(Failure::new(Exit::Refused, told));
        }
        plan.steps.push(Step::RemoveFolder(wish.data_dir.clone()));
        plan.changes.push(format!("{} removed, and with it the agent's identity", wish.data_dir.display()));
    }
    for path in [place.config(), place.former_config(), place.ca()] {
        if found.files.contains_key(&path) {
            plan.changes.push(format!("{} removed", path.display()));
            plan.steps.push(Step::Remove(path));
        }
    }
    if found.neighbours || found.packaged {
        return Ok(());
    }
    // The last of Warren on this machine.
    plan.steps.push(Step::RemoveIfEmpty(SETTINGS.into()));
    plan.steps.push(Step::RemoveIfEmpty(STATE.into()));
    if found.files.contains_key(Path::new(SYSUSERS)) {
        if found.service.is_some() && !found.person {
            plan.steps.push(run(&["userdel", USER]));
            plan.changes.push(format!("user {USER} removed"));
        }
        plan.steps.push(Step::Remove(SYSUSERS.into()));
    }
    if found.program_is_there {
        plan.steps.push(Step::Remove(PROGRAM.into()));
        plan.changes.push(format!("program {PROGRAM} removed"));
    }
    Ok(())
}
