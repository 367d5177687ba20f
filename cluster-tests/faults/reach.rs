//! What the trials have in common: a group, what its members say of it, and sessions that are held open.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{GROUP, Site, caller, eventually, http};

/// For what must happen, whenever that is.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// A leader's death, or a cut: config can be written again.
pub(super) const WRITABLE: Duration = Duration::from_secs(1);

/// Config is written, however often that takes; the time until it was acknowledged, with the starts of the CLI.
pub(super) fn writable(site: &Site, name: &str) -> Duration {
    // Nobody calls there.
    let create = ["resources", "create", name, "--group", GROUP, "--target", "127.0.0.1:9"];
    let (_, took) =
        eventually(&format!("{name} is written"), SOON, || (site.run(&create).code == 0).then_some(()));
    took
}

/// An edit is refused for want of a quorum, whatever became of those before it; the time until it was.
pub(super) fn refused_without_quorum(site: &Site, name: &str) -> Duration {
    let create = ["resources", "create", name, "--group", GROUP, "--target", "127.0.0.1:9"];
    let (refused, took) = eventually("nobody writes", SOON, || {
        let answer = site.run(&create);
        // What was under way may be told as unsure.
        (answer.code == 3).then_some(answer)
    });
    assert!(refused.stderr.contains("quorum"), "{refused:?}");
    took
}

/// Names of the resources that the group's config has.
pub(super) fn resources(site: &Site) -> Vec<String> {
    let listed = site.json(&["resources", "list", "--group", GROUP]);
    let names = listed.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    names.map(str::to_owned).collect()
}

/// What a member's own metrics say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) term: u64,
    /// By title, though its quorum may be silent.
    pub(super) leads: bool,
    /// Whether it is in touch with a majority.
    pub(super) quorum: bool,
    pub(super) revision: u64,
    /// How often it stood for election.
    pub(super) stood: u64,
    /// It takes no part.
    pub(super) stopped: bool,
}

/// Where each agent shows its metrics.
pub(super) fn metrics(site: &mut Site) -> Vec<SocketAddr> {
    site.agents.iter_mut().map(|agent| agent.process.address("metrics")).collect()
}

/// None while it does not answer.
pub(super) fn said(metrics: SocketAddr) -> Option<Said> {
    let (status, text) = http::get(metrics, "/metrics").ok()?;
    let whole = |name| http::sum(&text, name, "") as u64;
    (status == 200).then(|| Said {
        term: whole("warren_raft_term"),
        leads: whole("warren_raft_is_leader") == 1,
        quorum: whole("warren_group_quorum") == 1,
        revision: whole("warren_group_revision"),
        stood: whole("warren_raft_elections_total"),
        stopped: whole("warren_group_log_stopped") == 1,
    })
}

/// A moment, by both clocks: the test's own and that of the processes' logs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    /// Since midnight, UTC.
    pub(super) day: Duration,
}

pub(super) const DAY: Duration = Duration::from_secs(86_400);

impl Moment {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock of this century");
        let seconds = since.as_secs() % DAY.as_secs();
        Self { instant: Instant::now(), day: Duration::new(seconds, since.subsec_nanos()) }
    }

    /// How long after it a log says so for the first time.
    pub(super) fn first_after(&self, log: &str, words: &str) -> Duration {
        self.after(log, words).min().unwrap_or_default()
    }

    /// And for the last time.
    pub(super) fn last_after(&self, log: &str, words: &str) -> Duration {
        self.after(log, words).max().unwrap_or_default()
    }

    fn after<'a>(&self, log: &'a str, words: &'a str) -> impl Iterator<Item = Duration> {
        let day = self.day;
        let told = log.lines().filter(move |line| line.contains(words)).filter_map(time_of_day);
        // What lies before it would be nearly a day after.
        told.map(move |time| (time + DAY - day).as_secs_f64() % DAY.as_secs_f64())
            .filter(|after| *after < DAY.as_secs_f64() / 2.0)
            .map(Duration::from_secs_f64)
    }
}

/// `2026-11-25T13:08:57.194805Z  INFO …`
pub(super) fn time_of_day(line: &str) -> Option<Duration> {
    let time = line.get(11..26)?;
    let mut parts = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(Duration::from_secs_f64(hours * 3_600.0 + minutes * 60.0 + seconds))
}

/// Who said to lead in which term: never two in one.
#[derive(Debug, Default)]
pub(super) struct Terms(BTreeMap<u64, usize>);

impl Terms {
    pub(super) fn note(&mut self, member: usize, said: Said) {
        if said.leads {
            let known = *self.0.entry(said.term).or_insert(member);
            assert_eq!(known, member, "two leaders in term {}", said.term);
        }
    }
}

/// Sessions that stay open, and through which member each goes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sessions: Vec<TcpStream>,
    /// The members' ids, in the same order.
    pub(super) members: Vec<String>,
}

impl Held {
    pub(super) fn open(site: &Site, resource: &str, address: SocketAddr, count: usize) -> Self {
        let open = |_| caller::open_echo(address).expect("a session through a healthy group").0;
        let sessions: Vec<_> = (0..count).map(open).collect();
        let records = site.sessions(resource);
        let member = |session: &TcpStream| {
            let from = session.local_addr().expect("a connected socket").to_string();
            let record = records.iter().find(|record| record["caller"] == from.as_str());
            record.and_then(|record| record["member"].as_str()).expect("each session is recorded").to_owned()
        };
        let members = sessions.iter().map(member).collect();
        Self { sessions, members }
    }

    /// How many go through the member.
    pub(super) fn on(&self, member: &str) -> usize {
        self.members.iter().filter(|one| *one == member).count()
    }

    /// Waits until all that go through the member are cut, and forgets them; when the last one was.
    pub(super) fn cut(&mut self, member: &str, deadline: Duration) -> Instant {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.sessions.drain(..).zip(self.members.drain(..)).partition(|(_, one)| one == member);
        (self.sessions, self.members) = kept.into_iter().unzip();
        let until = Instant::now() + deadline;
        for (mut session, _) in gone {
            caller::wait_for_end(&mut session, until.saturating_duration_since(Instant::now()))
                .unwrap_or_else(|why| panic!("a session through {member} is not cut: {why}"));
        }
        Instant::now()
    }

    /// How many do not answer.
    pub(super) fn lost(&mut self) -> usize {
        self.lost_but("")
    }

    /// How many do not answer, those through the member apart.
    pub(super) fn lost_but(&mut self, member: &str) -> usize {
        let asked = self.sessions.iter_mut().zip(&self.members).filter(|(_, one)| *one != member);
        asked.filter_map(|(session, _)| caller::round_trip(session, b"still there?").err()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_how_long_after_a_moment_something_was() {
        let day = Duration::from_secs(13 * 3_600 + 8 * 60 + 57);
        let moment = Moment { instant: Instant::now(), day };
        let log = "2026-11-25T13:08:56.900000Z  INFO a: leads\n2026-11-25T13:08:57.250000Z  INFO a: leads\n\
                   2026-11-25T13:08:58.500000Z  INFO b: leads\nno time\n";
        assert_eq!(moment.first_after(log, "leads").as_millis(), 250);
        assert_eq!(moment.last_after(log, "leads").as_millis(), 1_500);
        assert_eq!(moment.first_after(log, "follows"), Duration::ZERO);
        let midnight = Moment { day: DAY - Duration::from_millis(100), ..moment };
        assert_eq!(midnight.first_after("2026-11-26T00:00:00.100000Z leads", "leads").as_millis(), 200);
    }
}
