//! Two versions at once: a site is upgraded piece by piece under callers, and one agent goes back on the way.
//!
//! The earlier version is the program that `WARREN_OLD_BIN` names; without it this is passed over. `cluster-tests/prove/versions`
//! builds one and runs this.

use std::{env, time::Duration};

use warren_cluster_tests::{GROUP, Place, Site, caller, eventually, opens::Opens, target, tools};

const SOON: Duration = Duration::from_secs(30);
/// Longer than an agent takes to drain and end.
const STOPS_WITHIN: Duration = Duration::from_secs(40);

/// Config is written, and all members come to know it.
fn edit(site: &Site, edits: &mut Vec<String>) {
    let name = format!("edit-{}", edits.len());
    let create = ["resources", "create", &name, "--group", GROUP, "--target", "127.0.0.1:9"];
    eventually(&format!("{name} is written"), SOON, || (site.run(&create).code == 0).then_some(()));
    edits.push(name);
}

/// One agent stops as people stop it, and comes back as another version; config is written in between and afterwards.
fn change(site: &mut Site, index: usize, place: &Place, edits: &mut Vec<String>) {
    site.agents[index].process.terminate();
    site.agents[index].process.wait(STOPS_WITHIN);
    edit(site, edits);
    site.agents[index].start_in(place.clone());
    site.agents[index].process.ready();
    site.wait_for_members(3);
    edit(site, edits);
    site.wait_for_members(3);
}

#[test]
fn a_site_is_upgraded_piece_by_piece_and_one_agent_goes_back() {
    let Some(old) = env::var_os("WARREN_OLD_BIN") else {
        return tools::pass_over("WARREN_OLD_BIN names no earlier version");
    };
    let (old, new) = (Place::running(old), Place::default());
    let mut site = Site::builder().gateway_in(old.clone()).start();
    for name in ["agent-1", "agent-2", "agent-3"] {
        site.add_agent_in(&old, name, &[]);
    }
    site.wait_for_members(3);
    let echo = site.resource("echo", target::echo());
    let mut edits = Vec::new();
    edit(&site, &mut edits);

    site.upgrade_gateway(new.clone());
    site.wait_for_members(3);
    edit(&site, &mut edits);
    eventually("callers are served", SOON, || caller::open_echo(echo).ok());

    let opens = Opens::start(echo, 4, Duration::from_millis(40));
    for index in [0, 1] {
        change(&mut site, index, &new, &mut edits);
    }
    // Once all know what the newer one knows, the group's log may hold it, and there is no way back.
    change(&mut site, 1, &old, &mut edits);
    for index in [1, 2] {
        change(&mut site, index, &new, &mut edits);
    }
    let done = opens.finish();
    assert!(done.len() > 200, "{} came", done.len());
    let failed: Vec<_> = done.iter().filter(|opened| opened.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), done.len());

    let listed = site.json(&["resources", "list", "--group", GROUP]);
    for name in &edits {
        let known = listed.as_array().unwrap().iter().any(|resource| resource["name"] == name.as_str());
        assert!(known, "{name} was written: {listed}");
    }
}
