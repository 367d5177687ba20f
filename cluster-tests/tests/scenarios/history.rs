//! Config under concurrent editors while its leader dies again and again: every answer is the truth.

use std::time::{Duration, Instant};

use warren_cluster_tests::{
    Site, eventually,
    history::{Editors, Entry, Outcome, Pace},
    load, target,
};

const PACE: Pace = Pace { clients: 4, every: Duration::from_millis(60) };
const KILLS: usize = 3;
const SOON: Duration = Duration::from_secs(30);

#[test]
fn edits_beside_a_leader_that_is_killed_again_and_again_are_linearizable() {
    let mut site = Site::with_agents(3);
    let editors = Editors::start(&mut site, target::echo(), PACE, Instant::now(), load::seed(1));
    for _ in 0..KILLS {
        some_more_edits(&editors);
        let leader = site.leader();
        site.agents[leader].process.kill();
        some_more_edits(&editors);
        site.agents[leader].restart();
        site.agents[leader].process.ready();
    }
    site.wait_for_members(3);
    some_more_edits(&editors);
    let sound = editors.finish(&site).check().unwrap_or_else(|unsound| panic!("{unsound}"));
    assert!(sound.stale > 0 && sound.seen > 0, "clients met: {sound:?}");
}

fn some_more_edits(editors: &Editors) {
    let written = || {
        editors
            .entries()
            .iter()
            .filter(|entry: &&Entry| matches!(entry.outcome, Outcome::Written { .. }))
            .count()
    };
    let before = written();
    eventually("edits are taken", SOON, || (written() >= before + 10).then_some(()));
}
