//! Clients that write and read the config at the same time: through the gateway's admin API, and one on the site.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{Document, Entry, History, LOOK_BACK, Op, Outcome, Revision, Told, on_site::OnSite};
use crate::{
    GROUP, Site,
    crew::{Crew, Stop},
    load::Random,
    rpc::{
        Failure, Rpc,
        admin::{Changed, ConfigDocument, ConfigHistory, ConfigRevisions, GetConfig, SetConfig},
    },
    wait,
};

/// The resource whose description tells the document's number. Its target is whatever the site gave it.
pub(super) const MARK: &str = "mark";
/// Longer than the gateway itself waits for its group.
const CALL_MAX: Duration = Duration::from_secs(10);
/// No group is at this revision: a write that expects it is refused by whoever decides, who thereby tells the current one.
const NEVER: Revision = 1 << 60;

/// How many clients of the gateway there are beside the one on the site, and how often each asks.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub clients: usize,
    pub every: Duration,
}

/// Clients under way.
#[derive(Debug)]
pub struct Editors {
    history: Arc<History>,
    /// What contradicted itself, of each.
    clients: Crew<Vec<String>>,
    base: Base,
    /// Where the history began.
    first: (Revision, Document),
}

/// The document without its number.
#[derive(Debug, Clone)]
struct Base(String);

impl Editors {
    /// Takes the site's config as it is, with a resource `mark` to write on, and goes on from there until it is told to finish.
    /// Nobody else may edit the config meanwhile.
    pub fn start(site: &mut Site, target: impl ToString, pace: Pace, start: Instant, seed: u64) -> Self {
        let target = target.to_string();
        site.resource(MARK, &target);
        let admin = site.admin();
        let base = Base::of(&get(&admin).expect("the config of a group that is well").document);
        let set = SetConfig { group: GROUP.to_owned(), document: base.numbered(0), expected_revision: None };
        let first: Changed =
            admin.call("Config/Set", set, CALL_MAX).expect("a group that is well takes an edit");
        let history = Arc::new(History::new(start));
        let documents = Arc::new(AtomicU64::new(1));
        let client = |number: usize| Client {
            number,
            history: history.clone(),
            documents: documents.clone(),
            known: first.revision,
            random: Random::new(seed.wrapping_add(number as u64).wrapping_mul(0x9E37_79B9)),
        };
        let mut clients = Crew::default();
        for number in 0..pace.clients {
            let (mut client, admin, base) = (client(number), site.admin(), base.clone());
            clients.spawn(move |stop| {
                pace.keep(number, stop, || client.ask_gateway(&admin, &base));
                Vec::new()
            });
        }
        let mut client = client(pace.clients);
        let mut members = OnSite::new(site, &target, seed);
        clients.spawn(move |stop| {
            let mut contradictions = Vec::new();
            pace.keep(pace.clients, stop, || contradictions.extend(client.ask_members(&mut members)));
            contradictions.extend(members.complain());
            contradictions
        });
        let first = (first.revision, 0);
        Self { history, clients, base, first }
    }

    /// All calls so far that have ended.
    pub fn entries(&self) -> Vec<Entry> {
        self.history.entries()
    }

    /// Waits for the calls under way; tells all of them, and last of all what the group says of its past.
    pub fn finish(self, site: &Site) -> Told {
        let told = self.clients.finish().into_iter();
        let contradictions = told.flat_map(|client| client.expect("a client does not panic")).collect();
        let admin = site.admin();
        // How far the log is, by the log.
        let op = Op::Write { expected: Some(NEVER), document: NEVER };
        self.history.call(LOOK_BACK, op, || set(&admin, self.base.numbered(0), Some(NEVER)));
        let ask = ConfigHistory { group: GROUP.to_owned(), limit: 1_000 };
        let revisions: Result<ConfigRevisions, Failure> = admin.call("Config/History", ask, CALL_MAX);
        for revision in revisions.map(|told| told.entries).unwrap_or_default() {
            let seen = number_of(&revision.document)
                .map(|document| Outcome::Seen { revision: revision.revision, document });
            self.history.call(LOOK_BACK, Op::Read, || seen.unwrap_or(Outcome::Unseen));
        }
        Told { first: self.first, entries: self.history.entries(), contradictions }
    }
}

impl Pace {
    /// Asks again and again until it is stopped; not all in step.
    fn keep(self, number: usize, stop: &Stop, mut ask: impl FnMut()) {
        let mut due = Instant::now() + self.every.mul_f64(number as f64 / (self.clients + 1) as f64);
        while !stop.is_set() {
            wait::until(due);
            ask();
            due = (due + self.every).max(Instant::now());
        }
    }
}

/// What one client knows.
struct Client {
    number: usize,
    history: Arc<History>,
    documents: Arc<AtomicU64>,
    /// The newest revision that it has heard of.
    known: Revision,
    random: Random,
}

impl Client {
    fn ask_gateway(&mut self, admin: &Rpc, base: &Base) {
        let outcome = match self.expected() {
            None => self.history.call(self.number, Op::Read, || read(admin)),
            Some(expected) => {
                let document = self.documents.fetch_add(1, SeqCst);
                let (op, text) = (Op::Write { expected, document }, base.numbered(document));
                self.history.call(self.number, op, || set(admin, text, expected))
            }
        };
        self.learn(outcome);
    }

    /// What contradicts itself, if anything does.
    fn ask_members(&mut self, members: &mut OnSite) -> Option<String> {
        let expected = self.expected().unwrap_or(Some(self.known));
        let document = self.documents.fetch_add(1, SeqCst);
        let mut contradiction = None;
        let outcome = self.history.call(self.number, Op::Write { expected, document }, || {
            members.write(expected, document).unwrap_or_else(|why| {
                contradiction = Some(why);
                Outcome::Unknown
            })
        });
        self.learn(outcome);
        contradiction
    }

    /// Of ten calls six are writes that expect what is known, one expects nothing, one asks the log how far it is, and two
    /// are reads (`None`).
    fn expected(&mut self) -> Option<Option<Revision>> {
        match self.random.below(10) {
            0..6 => Some(Some(self.known)),
            6 => Some(None),
            7 => Some(Some(NEVER)),
            _ => None,
        }
    }

    fn learn(&mut self, outcome: Outcome) {
        if let Outcome::Written { revision }
        | Outcome::Stale { actual: revision }
        | Outcome::Seen { revision, .. } = outcome
        {
            self.known = self.known.max(revision);
        }
    }
}

fn get(admin: &Rpc) -> Result<ConfigDocument, Failure> {
    admin.call("Config/Get", GetConfig { group: GROUP.to_owned() }, CALL_MAX)
}

fn read(admin: &Rpc) -> Outcome {
    let seen = get(admin).ok().and_then(|told| Some((told.revision, number_of(&told.document)?)));
    seen.map_or(Outcome::Unseen, |(revision, document)| Outcome::Seen { revision, document })
}

fn set(admin: &Rpc, document: String, expected_revision: Option<Revision>) -> Outcome {
    let ask = SetConfig { group: GROUP.to_owned(), document, expected_revision };
    match admin.call("Config/Set", ask, CALL_MAX) {
        Ok(Changed { revision }) => Outcome::Written { revision },
        Err(failure) => read_failure(&failure),
    }
}

/// The group's own words are taken at their word: what it says was not made must never be seen.
fn read_failure(failure: &Failure) -> Outcome {
    match failure {
        Failure::NotSent(_) => Outcome::Refused,
        Failure::Silence(_) => Outcome::Unknown,
        Failure::Said { reason, message } => match reason.as_str() {
            "stale" => actual(message).map_or(Outcome::Unknown, |actual| Outcome::Stale { actual }),
            "timeout" | "unreachable" | "transport" | "stopped" | "no_outcome" => Outcome::Unknown,
            _ if message.contains("may still be") => Outcome::Unknown,
            _ => Outcome::Refused,
        },
    }
}

/// `revision is 7, not 5 as expected: …`
fn actual(message: &str) -> Option<Revision> {
    let rest = message.split_once("revision is ")?.1;
    rest.split(',').next()?.parse().ok()
}

impl Base {
    /// The config as the group shows it, with room for a number at the resource `mark`.
    fn of(document: &str) -> Self {
        let lines = document.lines().flat_map(|line| {
            let of_mark = line.trim_end() == format!("  {MARK}:");
            [Some(line.to_owned()), of_mark.then(|| "    description: edit-#".to_owned())]
        });
        Self(lines.flatten().collect::<Vec<_>>().join("\n"))
    }

    fn numbered(&self, document: Document) -> String {
        self.0.replace("edit-#", &format!("edit-{document}"))
    }
}

fn number_of(document: &str) -> Option<Document> {
    let rest = document.split_once("edit-")?.1;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
