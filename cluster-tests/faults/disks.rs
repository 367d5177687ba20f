//! Disks that are full, slow, or wiped.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Seen,
    reach::{Held, SOON, WRITABLE, metrics, said, writable},
    sites::one_in,
};
use crate::{
    Site, caller,
    disk::{SmallDisk, Syncs},
    eventually, hold, http, target,
};

/// What each sync takes longer.
const SLOW: Duration = Duration::from_secs(2);

/// Row 9.
pub(super) fn full(seen: &mut Seen) {
    let (mut site, disk) = one_in(|site| {
        let disk = SmallDisk::over(&site.path("agent-1").join("data"), 8 << 10);
        let place = disk.place();
        (disk, place)
    });
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let was_leader = site.leader() == 0;
    let own = site.agents[0].process.address("metrics");
    disk.fill();
    let start = Instant::now();
    // The file has room of its own for a while.
    let mut number = 0;
    eventually("it takes no part any more", Duration::from_secs(60), || {
        number += 1;
        writable(&site, &format!("one-{number}"));
        said(own).filter(|said| said.stopped)
    });
    let log = site.agents[0].process.log();
    assert!(log.contains("takes no part in its group until there is space"), "it says so aloud: {log}");
    seen.counted("writes until it was full", number);
    seen.told("noticed", start.elapsed());
    let start = Instant::now();
    writable(&site, "after");
    seen.time("config written", start.elapsed(), WRITABLE, SOON);
    seen.counted("it led the group", usize::from(was_leader));
    seen.count("sessions lost", held.lost(), 0);
    caller::open_echo(echo).expect("callers are served");
    disk.free();
    let start = Instant::now();
    eventually("it takes part again", SOON, || said(own).filter(|said| !said.stopped));
    seen.time("back once there is room, by itself", start.elapsed(), Duration::from_secs(5), SOON);
    site.wait_for_members(3);
}

/// How long a member has waited for its log, in all.
fn appending(metrics: SocketAddr) -> Duration {
    Duration::from_secs_f64(http::sum(&http::metrics(metrics), "warren_raft_append_seconds_sum", ""))
}

/// Row 10.
pub(super) fn slow(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let addresses = metrics(&mut site);
    let leader = site.leader();
    let slow = (leader + 1) % 3;
    let before = said(addresses[leader]).expect("it answers");
    let before_syncs = appending(addresses[slow]);
    let syncs = Syncs::delayed(&site.agents[slow].process, SLOW);
    let (mut longest, mut number) = (Duration::ZERO, 0);
    let mut written = Duration::ZERO;
    hold("callers are served", Duration::from_secs(4), || {
        if number % 20 == 0 {
            written = written.max(writable(&site, &format!("one-{number}")));
        }
        number += 1;
        let start = Instant::now();
        let answers = said(addresses[slow]).is_some();
        longest = longest.max(start.elapsed());
        answers && caller::open_echo(echo).is_ok()
    });
    let late = || appending(addresses[slow]).saturating_sub(before_syncs);
    eventually("its disk is felt to be slow", SOON, || (late() >= SLOW).then_some(()));
    drop(syncs);
    seen.time("config written meanwhile", written, WRITABLE, SOON);
    seen.time("slowest answer of its own metrics", longest, Duration::from_millis(500), SOON);
    site.wait_for_members(3);
    let after = said(addresses[leader]).expect("it answers");
    seen.counted("terms more", (after.term - before.term) as usize);
    let syncs = Syncs::failing(&site.agents[slow].process);
    let mut number = 0;
    eventually("it takes no part any more", SOON, || {
        number += 1;
        written = written.max(writable(&site, &format!("failing-{number}")));
        said(addresses[slow]).filter(|said| said.stopped)
    });
    drop(syncs);
    seen.time("config written while they fail", written, WRITABLE, SOON);
    seen.count("sessions lost", held.lost(), 0);
    let start = Instant::now();
    site.agents[slow].restart();
    site.agents[slow].process.ready();
    site.wait_for_members(3);
    seen.time("back by a start", start.elapsed(), Duration::from_secs(5), SOON);
}

/// Row 11.
pub(super) fn damaged(seen: &mut Seen) {
    // The first page tells what the file is; the size of a page.
    const PAGE: usize = 4_096;
    let mut site = Site::with_agents(3);
    let damaged = (site.leader() + 1) % 3;
    writable(&site, "before");
    let agent = &mut site.agents[damaged];
    agent.process.kill();
    let path = agent.data().join("group.redb");
    let mut file = fs::read(&path).expect("a member's log");
    // One bit of each page, so that pages which hold something are among them.
    for page in file.chunks_mut(PAGE).skip(1) {
        let at = seen.draw(page.len() as u64) as usize;
        page[at] ^= 1;
    }
    fs::write(&path, file).expect("a member's log");
    agent.restart();
    let status = agent.process.wait(SOON);
    assert_eq!(status.code(), Some(1), "{}", agent.process.log());
    let log = agent.process.log();
    assert!(log.contains("is damaged") && log.contains("enrol it again"), "it says what to do: {log}");
    seen.count("panics", log.matches("panicked").count(), 0);
    let start = Instant::now();
    writable(&site, "without-it");
    seen.time("config written without it", start.elapsed(), WRITABLE, SOON);
    // The remedy, as it is told.
    let agent = &site.agents[damaged];
    fs::rename(agent.data(), agent.data().with_extension("damaged")).expect("an agent's folder");
    enrolled_anew(seen, &mut site, damaged);
}

/// An agent without its folder is started: it comes as somebody else, and whoever it was is thrown out.
fn enrolled_anew(seen: &mut Seen, site: &mut Site, index: usize) {
    let agent = &mut site.agents[index];
    let old = agent.id.clone();
    let start = Instant::now();
    agent.restart();
    let fresh = agent.process.ready()["id"].as_str().expect("an id").to_owned();
    assert_ne!(fresh, old, "ids are never used twice");
    eventually("it is a voter", SOON, || (site.member(&fresh)["role"] == "voter").then_some(()));
    seen.told("back under another id, a voter", start.elapsed());
    let start = Instant::now();
    site.run(&["agents", "revoke", &old]).ok();
    site.agents[index].id = fresh;
    site.wait_for_members(3);
    seen.told("the old id revoked", start.elapsed());
}

/// Row 13.
pub(super) fn wiped(seen: &mut Seen) {
    let mut site = Site::with_agents(3);
    let wiped = (site.leader() + 1) % 3;
    let agent = &mut site.agents[wiped];
    agent.process.kill();
    fs::remove_dir_all(agent.data()).expect("an agent's folder");
    enrolled_anew(seen, &mut site, wiped);
    let logs = site.agents.iter().map(|agent| agent.process.log()).collect::<String>();
    seen.count("panics", logs.matches("panicked").count(), 0);
}
