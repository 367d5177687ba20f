//! Deaths, freezes and confusions among the members of a group.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    Seen,
    edits::{Editor, writable_again},
    members::count_failed,
    reach::{Held, Moment, SOON, WRITABLE, metrics, refused_without_quorum, resources, said, writable},
};
use crate::{GROUP, Site, caller, eventually, opens::Opens, rpc::Failure, target};

/// Row 1.
pub(super) fn leader_killed(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let editor = Editor::new(&site);
    let revision = site.status()["revision"].as_u64().expect("a number");
    let mut leader = {
        let index = site.leader();
        site.agents.remove(index)
    };
    let editing = editor.start();
    eventually("edits are made", SOON, || (editing.made_since(None) > 5).then_some(()));
    crate::wait::until(Instant::now() + Duration::from_millis(seen.draw(60)));
    let killed = Moment::now();
    leader.process.kill();
    let dead = Instant::now();
    eventually("edits are made again", SOON, || (editing.made_since(Some(dead)) > 20).then_some(()));
    let edits = editing.finish();
    let again = writable_again(&edits, killed.instant) - killed.instant;
    seen.time("config writable again", again, WRITABLE, SOON);
    // What that was spent on, as the survivors tell it.
    let logs = site.agents.iter().map(|agent| agent.process.log()).collect::<String>();
    let stood = killed.first_after(&logs, "standing for election");
    let led = killed.last_after(&logs, "leader leader=");
    seen.told("of it until one stands for election", stood);
    seen.told("of it the election", led.saturating_sub(stood));
    seen.told("of it until an edit is made", again.saturating_sub(led));
    let made = edits.iter().filter(|edit| edit.outcome.is_ok()).count();
    let failures = edits.iter().filter_map(|edit| edit.outcome.as_ref().err());
    let unsure = failures.clone().filter(|failure| match failure {
        Failure::NotSent(_) => false,
        Failure::Said { message, .. } => message.contains("may still be"),
        Failure::Silence(_) => true,
    });
    let unsure = unsure.count();
    seen.counted("edits told as unsure", unsure);
    seen.counted("edits refused", failures.count() - unsure);
    let now = site.status()["revision"].as_u64().expect("a number");
    let more = (now - revision) as usize;
    assert!(more >= made, "{made} were acknowledged, {more} are there");
    seen.count("edits made twice, or told as not made", (more - made).saturating_sub(unsure), 0);
    // They wait for it until its next start.
    leader.restart();
    held.cut(&leader.id, SOON);
    seen.count("sessions lost on the others", held.lost(), 0);
}

/// Row 2.
pub(super) fn leader_killed_in_a_change(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let token = site.token(&[]);
    let mut newcomer = site.start_agent("agent-4", &token, &[]);
    let id = newcomer.process.ready()["id"].as_str().expect("an id").to_owned();
    eventually("it is a learner", SOON, || (site.member(&id)["role"] == "learner").then_some(()));
    // It becomes a voter two seconds after it has caught up: somewhere around that.
    let delay = Duration::from_millis(1_200 + seen.draw(1_000));
    crate::wait::until(Instant::now() + delay);
    let leader = site.leader();
    let killed = Instant::now();
    site.agents[leader].process.kill();
    writable(&site, "after");
    seen.time("config writable after it", killed.elapsed(), WRITABLE, SOON);
    let (_, took) =
        eventually("it becomes a voter", SOON, || (site.member(&id)["role"] == "voter").then_some(()));
    seen.told("the newcomer a voter", took);
    site.agents[leader].restart();
    site.agents[leader].process.ready();
    newcomer.id = id;
    site.agents.push(newcomer);
    site.wait_for_members(4);
    let terms: Vec<_> =
        metrics(&mut site).into_iter().filter_map(said).map(|said| (said.term, said.leads)).collect();
    assert_eq!(terms.iter().filter(|(_, leads)| *leads).count(), 1, "{terms:?}");
}

/// Row 6, while it lasts.
pub(super) fn quorum_lost(seen: &mut Seen) {
    let lasts = seen.stretched(Duration::from_secs(10));
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let stays = (site.leader() + 1) % 3;
    let opens = Opens::start(echo, 4, Duration::from_millis(40));
    eventually("callers come", SOON, || (opens.count() > 50).then_some(()));
    let gone: Vec<_> = (0..3).filter(|index| *index != stays).collect();
    let mut deaths = Vec::new();
    for index in &gone {
        deaths.push((site.agents[*index].id.clone(), Instant::now()));
        site.agents[*index].process.kill();
    }
    let lost = Instant::now();
    seen.told("an edit refused, with the reason", refused_without_quorum(&site, "meanwhile"));
    eventually("it lasts", lasts + SOON, || (lost.elapsed() >= lasts).then_some(()));
    let done = opens.finish();
    let after = done.iter().filter(|opened| opened.begun >= lost).count();
    assert!(after as u128 > lasts.as_millis() / 20, "only {after} came");
    seen.counted("opens without a quorum", after);
    count_failed(seen, &site, &done, &deaths);
    gone.iter().for_each(|index| site.agents[*index].restart());
    let back = Instant::now();
    writable(&site, "after");
    seen.time("config writable after their start", back.elapsed(), Duration::from_secs(5), SOON);
    for index in gone {
        held.cut(&site.agents[index].id.clone(), SOON);
    }
    seen.count("sessions lost on the one that stayed", held.lost(), 0);
    site.wait_for_members(3);
    caller::open_echo(echo).expect("a group that is well");
}

/// Row 7.
pub(super) fn leader_frozen(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let metrics = metrics(&mut site);
    let old = site.leader();
    let stale = site.status()["revision"].as_u64().expect("a number").to_string();
    let frozen = Instant::now();
    site.agents[old].process.freeze();
    writable(&site, "meanwhile");
    seen.time("config written meanwhile", frozen.elapsed(), Duration::from_secs(2), SOON);
    site.agents[old].process.thaw();
    let thawed = Instant::now();
    // Whoever is asked must know of it: an edit of what was before is refused, and made by nobody.
    let file = site.path("config.yaml");
    fs::write(&file, "resources: {}\n").expect("the site's directory can be written");
    let file = file.to_str().expect("a temporary path is text");
    let set = ["config", "set", "--group", GROUP, "--file", file, "--expect-revision", &stale];
    for _ in 0..3 {
        let answer = site.run(&set);
        assert_eq!(answer.code, 3, "a stale edit: {answer:?}");
    }
    assert_eq!(resources(&site), ["meanwhile"]);
    eventually("it follows", SOON, || said(metrics[old]).filter(|said| !said.leads && said.revision == 1));
    seen.time("it follows after the thaw", thawed.elapsed(), Duration::from_secs(2), SOON);
    site.wait_for_members(3);
}

/// Row 14.
pub(super) fn restarted_where_it_was(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let follower = (site.leader() + 1) % 3;
    site.agents[follower].process.kill();
    writable(&site, "meanwhile");
    let start = Instant::now();
    site.agents[follower].restart();
    let metrics = site.agents[follower].process.address("metrics");
    eventually("it has caught up", SOON, || said(metrics).filter(|said| said.revision == 1));
    seen.time("caught up, the start included", start.elapsed(), Duration::from_secs(2), SOON);
    writable(&site, "next");
    let next = Instant::now();
    eventually("it follows", SOON, || said(metrics).filter(|said| said.revision == 2));
    seen.time("the next write known there", next.elapsed(), Duration::from_secs(1), SOON);
    site.wait_for_members(3);
}

/// Row 15.
pub(super) fn snapshot_while_the_leader_dies(seen: &mut Seen) {
    // More than a member keeps of its log beside the snapshot.
    const BEHIND: u64 = 1_050;
    let mut site = Site::with_agents(3);
    let leader = site.leader();
    let late = (leader + 1) % 3;
    let mut editor = Editor::new(&site);
    let leads = site.agents[leader].process.address("metrics");
    site.agents[late].process.kill();
    for number in 0..BEHIND {
        let edit = editor.edit();
        assert_eq!(edit.outcome, Ok(()), "edit {number}");
    }
    let revision = said(leads).expect("it answers").revision;
    site.agents[late].restart();
    let start = Instant::now();
    crate::wait::until(start + Duration::from_millis(100 + seen.draw(300)));
    site.agents[leader].process.kill();
    let own = site.agents[late].process.address("metrics");
    eventually("it has caught up", SOON, || said(own).filter(|said| said.revision >= revision));
    seen.time("caught up, the start included", start.elapsed(), Duration::from_secs(5), SOON);
    writable(&site, "after");
    site.agents[leader].restart();
    site.wait_for_members(3);
    assert_eq!(resources(&site), ["after", "mark"]);
}

/// Row 16.
pub(super) fn swapped_addresses(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let leader = site.leader();
    let others: Vec<_> = (0..3).filter(|index| *index != leader).collect();
    let ports: Vec<_> = others.iter().map(|index| site.agents[*index].data().join("peer.port")).collect();
    let kept: Vec<_> = ports.iter().map(|port| fs::read(port).expect("a port that was picked")).collect();
    others.iter().for_each(|index| site.agents[*index].process.kill());
    fs::write(&ports[0], &kept[1]).expect("an agent's folder");
    fs::write(&ports[1], &kept[0]).expect("an agent's folder");
    let start = Instant::now();
    for index in &others {
        site.agents[*index].restart();
    }
    writable(&site, "after");
    let metrics = metrics(&mut site);
    eventually("all know of it", SOON, || {
        metrics.iter().all(|address| said(*address).is_some_and(|said| said.revision == 1)).then_some(())
    });
    seen.time("config written, and known to all", start.elapsed(), Duration::from_secs(10), SOON);
    site.wait_for_members(3);
    let logs = site.agents.iter().map(|agent| agent.process.log()).collect::<String>();
    seen.count("panics", logs.matches("panicked").count(), 0);
}
