//! What this agent knows of each resource, and when it looks again. No tasks, no clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use warren_core::{
    destination::{Rules, Target},
    id::Name,
    judge::{Evidence, Judge},
    state::{Verdict, VerdictChange},
    view::GroupView,
};

/// An undecided resource is looked at this many times as often.
const CLOSER: u32 = 5;

/// A verdict per resource, with the reason.
pub(super) type Verdicts = BTreeMap<Name, (Verdict, String)>;

/// All resources of the group as this agent sees them.
#[derive(Debug)]
pub(super) struct Board {
    resources: BTreeMap<Name, Watched>,
    /// The group's, as of the last look at them.
    rules: Rules,
    told: watch::Sender<Verdicts>,
}

#[derive(Debug)]
struct Watched {
    target: Target,
    judge: Judge,
    /// Absent while a look is under way.
    due: Option<Instant>,
    /// Looked at since it came: before that there is nothing to tell.
    seen: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            resources: BTreeMap::new(),
            rules: Rules::default(),
            told: watch::Sender::new(Verdicts::new()),
        }
    }
}

impl Board {
    /// What to tell the group.
    pub(super) fn verdicts(&self) -> watch::Receiver<Verdicts> {
        self.told.subscribe()
    }

    /// Takes up new and changed resources, to be looked at once, and forgets those that are gone. Gives their names.
    pub(super) fn follow(&mut self, view: &GroupView, now: Instant) -> Vec<Name> {
        let (resources, rules) = (&view.state.config.resources, &view.state.config.destinations);
        if self.rules != *rules {
            self.rules = rules.clone();
            self.look_at_all(now);
        }
        let before = self.resources.len();
        let mut gone = Vec::new();
        self.resources.retain(|name, watched| match resources.get(name) {
            Some(resource) => resource.target == watched.target,
            None => {
                gone.push(name.clone());
                false
            }
        });
        let dropped = self.resources.len() < before;
        for (name, resource) in resources {
            self.resources.entry(name.clone()).or_insert_with(|| Watched {
                target: resource.target.clone(),
                // A restarted agent goes on from what it had said.
                judge: Judge::resume(view.state.resource_verdict(view.me, name)),
                due: Some(now),
                seen: false,
            });
        }
        if dropped {
            let known = &self.resources;
            self.told.send_modify(|told| told.retain(|name, _| known.get(name).is_some_and(|w| w.seen)));
        }
        gone
    }

    /// Everything is worth a look at once: the rules have changed.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        self.resources.values_mut().filter_map(|watched| watched.due.as_mut()).for_each(|due| *due = now);
    }

    /// A resource whose look is due at `now`; it is under way from then on.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Name, Target)> {
        let due = |watched: &Watched| watched.due.is_some_and(|due| due <= now);
        let (name, watched) = self.resources.iter_mut().find(|(_, watched)| due(watched))?;
        watched.due = None;
        Some((name.clone(), watched.target.clone()))
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.resources.values().filter_map(|watched| watched.due).min()
    }

    /// Takes a look into account, and plans the next one after `interval` give or take a fifth. A look at what the
    /// resource was before it changed counts for nothing.
    #[expect(
        clippy::too_many_arguments,
        reason = "one look with all its circumstances; a struct would be used once"
    )]
    pub(super) fn judge(
        &mut self,
        name: &Name,
        target: &Target,
        evidence: Evidence,
        detail: &str,
        interval: Duration,
        now: Instant,
        random: u64,
    ) -> Option<Verdict> {
        let watched = self.resources.get_mut(name).filter(|watched| watched.target == *target)?;
        let changed = watched.judge.observe(evidence);
        let interval = if watched.judge.is_undecided() { interval / CLOSER } else { interval };
        watched.due = Some(now + jittered(interval, random));
        if changed.is_some() || !watched.seen {
            watched.seen = true;
            let verdict = watched.judge.verdict();
            self.told.send_modify(|told| _ = told.insert(name.clone(), (verdict, detail.to_owned())));
        }
        changed
    }

    pub(super) fn verdict(&self, name: &Name) -> Option<Verdict> {
        self.resources.get(name).map(|watched| watched.judge.verdict())
    }
}

/// What this member should tell the group so that the group knows what this member knows. Nothing before it is a member.
pub(super) fn differences(verdicts: &Verdicts, view: &GroupView) -> Vec<VerdictChange> {
    let state = &view.state;
    if !state.members.contains_key(&view.me) {
        return Vec::new();
    }
    let differs = |(name, (verdict, _)): &(&Name, &(Verdict, String))| {
        state.config.resources.contains_key(*name) && state.resource_verdict(view.me, name) != *verdict
    };
    let change = |(name, (verdict, detail)): (&Name, &(Verdict, String))| VerdictChange {
        member: view.me,
        resource: Some(name.clone()),
        verdict: *verdict,
        detail: detail.clone(),
    };
    verdicts.iter().filter(differs).map(change).collect()
}

/// Four to six fifths of `interval`, so that members do not look in step.
fn jittered(interval: Duration, random: u64) -> Duration {
    interval.mul_f64(0.8 + 0.4 * (random as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use warren_core::{
        config::Resource,
        id::AgentId,
        state::{Change, Command, GroupState, Proposal, RequestId},
    };

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    struct Site {
        state: GroupState,
        requests: u128,
    }

    impl Site {
        fn new() -> Self {
            let mut site = Self { state: GroupState::default(), requests: 0 };
            let (name, peer_address) = ("a".to_owned(), "127.0.0.1:1".to_owned());
            site.ask(Command::Join { member: me(), name, peer_address, version: "1".into() });
            site
        }

        fn ask(&mut self, command: Command) {
            self.requests += 1;
            let request = RequestId(self.requests);
            let proposal = Proposal { request, author: "t".into(), at_ms: 0, command };
            self.state.apply(&proposal).unwrap();
        }

        fn put(&mut self, target: &str) {
            let target = target.parse().unwrap();
            let resource = Resource { target, policy: Default::default(), description: String::new() };
            let change = Change::PutResource { name: db(), resource };
            self.ask(Command::Config { expected: None, change });
        }

        fn view(&self) -> GroupView {
            GroupView { epoch: 1, quorum: true, ..GroupView::new(me(), Arc::new(self.state.clone())) }
        }
    }

    fn me() -> AgentId {
        AgentId::from_random(1)
    }

    fn db() -> Name {
        "db".parse().unwrap()
    }

    fn look(board: &mut Board, evidence: Evidence, now: Instant) -> Option<Verdict> {
        let Some((name, target)) = board.take_due(now) else { panic!("nothing is due") };
        board.judge(&name, &target, evidence, "refused", INTERVAL, now, u64::MAX / 2)
    }

    fn differing(board: &Board, site: &Site) -> Vec<Verdict> {
        let changes = differences(&board.verdicts().borrow(), &site.view());
        changes.into_iter().map(|change| change.verdict).collect()
    }

    #[test]
    fn a_new_resource_is_looked_at_at_once_and_an_undecided_one_sooner() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        assert_eq!(board.next_due(), Some(now));
        assert_eq!(look(&mut board, Evidence::Bad, now), Some(Verdict::Suspect));
        let wait = board.next_due().unwrap() - now;
        assert!(wait > Duration::from_millis(1_900) && wait < Duration::from_millis(2_100), "{wait:?}");
        look(&mut board, Evidence::Good, now + wait);
        look(&mut board, Evidence::Good, now + 2 * wait);
        let wait = board.next_due().unwrap() - (now + 2 * wait);
        assert!(wait > Duration::from_secs(9) && wait < Duration::from_secs(11), "{wait:?}");
    }

    #[test]
    fn what_differs_is_told_until_the_group_has_it() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        assert_eq!(look(&mut board, Evidence::Certain, now), Some(Verdict::Down));
        let changes = differences(&board.verdicts().borrow(), &site.view());
        assert_eq!((changes.len(), changes[0].detail.as_str()), (1, "refused"));
        site.ask(Command::Verdicts { changes });
        assert_eq!(differing(&board, &site), []);
    }

    #[test]
    fn a_changed_target_starts_anew() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        look(&mut board, Evidence::Certain, now);
        let (name, old): (Name, Target) = (db(), "db:1".parse().unwrap());
        site.put("db:2");
        assert_eq!(board.follow(&site.view(), now), [], "changed is not gone");
        assert_eq!(board.verdict(&db()), Some(Verdict::Up));
        assert_eq!(differing(&board, &site), [], "nothing is known of the new target yet");
        let late = board.judge(&name, &old, Evidence::Certain, "", INTERVAL, now, 0);
        assert_eq!(late, None, "a look at the old target");
        assert_eq!(look(&mut board, Evidence::Good, now), None);
    }

    #[test]
    fn a_restarted_agent_goes_on_from_what_it_had_said() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        let down = VerdictChange {
            member: me(),
            resource: Some(db()),
            verdict: Verdict::Down,
            detail: String::new(),
        };
        site.ask(Command::Verdicts { changes: vec![down] });
        board.follow(&site.view(), now);
        look(&mut board, Evidence::Good, now);
        assert_eq!(differing(&board, &site), []);
        let soon = board.next_due().unwrap();
        assert!(soon - now < INTERVAL / 2, "one good look is not enough, the next comes soon");
        look(&mut board, Evidence::Good, soon);
        assert_eq!(differing(&board, &site), [Verdict::Up]);
    }

    #[test]
    fn deleted_resources_are_forgotten() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        look(&mut board, Evidence::Certain, now);
        site.ask(Command::Config { expected: None, change: Change::DeleteResource { name: db() } });
        assert_eq!(board.follow(&site.view(), now), [db()]);
        assert_eq!((board.next_due(), board.verdicts().borrow().len()), (None, 0));
    }

    #[test]
    fn new_rules_are_a_reason_to_look() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        look(&mut board, Evidence::Good, now);
        assert!(board.next_due() > Some(now));
        let mut config = site.state.config.clone();
        config.destinations.deny.push("10.0.0.0/8".parse().unwrap());
        site.ask(Command::Config { expected: None, change: Change::Replace { config } });
        board.follow(&site.view(), now);
        assert_eq!(board.next_due(), Some(now));
    }

    #[test]
    fn only_members_tell() {
        let (mut board, mut site, now) = (Board::default(), Site::new(), Instant::now());
        site.put("db:1");
        board.follow(&site.view(), now);
        look(&mut board, Evidence::Certain, now);
        site.ask(Command::Leave { member: me() });
        assert_eq!(differing(&board, &site), []);
    }
}
