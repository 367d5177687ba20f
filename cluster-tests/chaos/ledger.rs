//! What was done to whom from when to when, and what that excuses.

use std::time::Duration;

use super::fault::{Fault, Ways};

/// Moments are noted before a fault begins and after it has ended; a deed takes a moment itself.
const MOMENT: Duration = Duration::from_millis(200);
/// A member that says nothing gets no new session after 4 s, looked at every so often.
const SUSPECTED: Duration = Duration::from_millis(5_500);
/// One that hears nothing and goes on speaking is given up by itself, after 8 s: to the gateway any word of it is a sign of life.
const GIVES_UP: Duration = Duration::from_millis(9_500);
/// How long a gateway that is back may be without members: they come back by and by.
const MEMBERS_BACK: Duration = Duration::from_secs(10);
/// Sessions of a member that is gone wait so long for it to come back, and a little longer until that is settled.
const SESSIONS_WAIT: Duration = Duration::from_secs(36);
/// Drain time of all processes here.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// Within this time a revoked agent is out.
pub(super) const REVOKED: Duration = Duration::from_secs(10);
/// A session whose tunnels were away for this long of the time that it waits may be given up. No single fault of 12 s at most
/// comes to it, the way back included.
const OUTAGE: Duration = Duration::from_secs(24);

/// No run takes that long.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// One fault as it happened; times since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hurt {
    pub(super) fault: Fault,
    /// Agent ids of the members that it was about.
    pub(super) members: Vec<String>,
    pub(super) from: Duration,
    /// `None` while it lasts.
    pub(super) until: Option<Duration>,
}

/// All faults so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    hurts: Vec<Hurt>,
    pub(super) revocations: Vec<Revocation>,
}

/// An agent that is thrown out; times since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revocation {
    pub(super) id: String,
    /// When somebody asked for it first: it may have been done long before anybody was told.
    pub(super) asked: Duration,
    /// When it was acknowledged.
    pub(super) done: Option<Duration>,
}

impl Ledger {
    /// The number of the entry.
    pub(super) fn begin(&mut self, fault: Fault, members: Vec<String>, at: Duration) -> usize {
        self.hurts.push(Hurt { fault, members, from: at, until: None });
        self.hurts.len() - 1
    }

    pub(super) fn end(&mut self, number: usize, at: Duration) {
        self.hurts[number].until = Some(at);
    }

    pub(super) fn asks_to_revoke(&mut self, id: &str, at: Duration) {
        if self.revocations.iter().all(|one| one.id != id) {
            self.revocations.push(Revocation { id: id.to_owned(), asked: at, done: None });
        }
    }

    pub(super) fn is_revoked(&mut self, id: &str, at: Duration) {
        self.revocations.iter_mut().filter(|one| one.id == id).for_each(|one| one.done = Some(at));
    }

    pub(super) fn lasts(&self, number: usize) -> bool {
        self.hurts[number].until.is_none()
    }

    pub(super) fn hurts(&self) -> impl Iterator<Item = &Hurt> {
        self.hurts.iter()
    }

    /// Whether a session that was asked for and not opened has an excuse. `member` is who had it last, if that is known.
    pub(super) fn excuses_open(&self, member: Option<&str>, begun: Duration, ended: Duration) -> bool {
        let overlaps = |from: Duration, until: Duration| begun <= until && ended + MOMENT >= from;
        let revoked = self
            .revocations
            .iter()
            .any(|one| one.is_about(member) && overlaps(one.asked, one.over() + MOMENT));
        revoked
            || self.hurts.iter().any(|hurt| match hurt.fault {
                Fault::KillGateway | Fault::StopGateway => overlaps(hurt.from, hurt.over() + MEMBERS_BACK),
                Fault::KillAll => overlaps(hurt.from, hurt.over() + MEMBERS_BACK),
                // Whose bytes were on their way to it when it died; nobody knows whether they came to a target.
                Fault::Kill(_) | Fault::LoseQuorum => {
                    hurt.is_about(member) && overlaps(hurt.from, hurt.from + MOMENT)
                }
                // Under way when it was told to stop, and not open when its drain was over; it turns away what comes later.
                Fault::Stop(_) => {
                    hurt.is_about(member)
                        && begun <= hurt.from + MOMENT
                        && overlaps(hurt.from, hurt.from + DRAIN + MOMENT)
                }
                // The same until it is noticed, and of those that were under way when it fell silent.
                Fault::Freeze(_) | Fault::Hole(..) => {
                    let one_way = matches!(hurt.fault, Fault::Hole(_, Ways::ToAgent));
                    let noticed = hurt.from + if one_way { GIVES_UP } else { SUSPECTED };
                    hurt.is_about(member) && overlaps(hurt.from, noticed)
                }
                // The answer to what was under way comes when there is a way again, which may be too late.
                Fault::Refuse(_) => hurt.is_about(member) && overlaps(hurt.from, hurt.from + MOMENT),
                _ => false,
            })
    }

    /// How long after the gateway's last return that was; zero while it was away.
    pub(super) fn since_gateway(&self, at: Duration) -> Option<Duration> {
        let away = |hurt: &&Hurt| {
            matches!(hurt.fault, Fault::KillGateway | Fault::StopGateway) && hurt.from <= at + MOMENT
        };
        self.hurts.iter().rfind(away).map(|hurt| at.saturating_sub(hurt.over()))
    }

    /// Whether a session that was open on `member` and ended with an error at that moment has an excuse.
    pub(super) fn excuses_loss(&self, member: Option<&str>, at: Duration) -> bool {
        let within = |from: Duration, until: Duration| at + MOMENT >= from && at <= until;
        let revoked = self
            .revocations
            .iter()
            .any(|one| one.is_about(member) && within(one.asked, one.over() + REVOKED));
        revoked
            || self.hurts.iter().any(|hurt| match hurt.fault {
                Fault::KillGateway | Fault::StopGateway => within(hurt.from, hurt.from + DRAIN + SUSPECTED),
                Fault::Kill(_) | Fault::Stop(_) | Fault::LoseQuorum | Fault::KillAll => {
                    hurt.is_about(member) && within(hurt.from, hurt.from + SESSIONS_WAIT)
                }
                _ => false,
            })
            || self.outage(member, at) >= OUTAGE
    }

    /// How much of the time that sessions wait the member, or some member, was out of reach.
    fn outage(&self, member: Option<&str>, at: Duration) -> Duration {
        let since = at.saturating_sub(SESSIONS_WAIT);
        let mut spans: Vec<(Duration, Duration)> = self
            .hurts
            .iter()
            .filter(|hurt| match hurt.fault {
                Fault::Freeze(_) | Fault::Hole(..) | Fault::Refuse(_) => hurt.is_about(member),
                Fault::FreezeGateway => true,
                _ => false,
            })
            // Whoever was away finds its way back within a few seconds.
            .map(|hurt| (hurt.from.max(since), (hurt.over() + MEMBERS_BACK).min(at)))
            .filter(|(from, until)| from < until)
            .collect();
        spans.sort_unstable();
        let (mut total, mut covered) = (Duration::ZERO, Duration::ZERO);
        for (from, until) in spans {
            total += until.saturating_sub(from.max(covered));
            covered = covered.max(until);
        }
        total
    }
}

impl Hurt {
    /// When it was over; never, while it lasts.
    pub(super) fn over(&self) -> Duration {
        self.until.unwrap_or(NEVER)
    }

    /// Whether it may be about this member, if nobody knows which.
    fn is_about(&self, member: Option<&str>) -> bool {
        member.is_none_or(|member| self.members.iter().any(|hurt| hurt == member))
    }
}

impl Revocation {
    /// When it was acknowledged; never, while it is not.
    fn over(&self) -> Duration {
        self.done.unwrap_or(NEVER)
    }

    fn is_about(&self, member: Option<&str>) -> bool {
        member.is_none_or(|member| member == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fault::Who, *};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ledger(fault: Fault, from: u64, until: u64) -> Ledger {
        let mut ledger = Ledger::default();
        let number = ledger.begin(fault, vec!["a".to_owned()], s(from));
        ledger.end(number, s(until));
        ledger
    }

    #[test]
    fn a_kill_excuses_what_was_on_that_member_and_no_later_open() {
        let ledger = ledger(Fault::Kill(Who::Member(0)), 10, 15);
        assert!(ledger.excuses_open(Some("a"), s(9), s(11)));
        assert!(!ledger.excuses_open(Some("a"), s(11), s(12)), "it was known to be dead by then");
        assert!(!ledger.excuses_open(Some("b"), s(9), s(11)));
        assert!(ledger.excuses_loss(Some("a"), s(40)) && !ledger.excuses_loss(Some("a"), s(60)));
        assert!(!ledger.excuses_loss(Some("b"), s(11)) && !ledger.excuses_loss(Some("a"), s(9)));
    }

    #[test]
    fn silence_excuses_opens_until_it_is_noticed_and_no_session() {
        let ledger = ledger(Fault::Hole(Who::Member(0), Ways::Both), 10, 20);
        assert!(ledger.excuses_open(Some("a"), s(14), s(22)));
        assert!(ledger.excuses_open(Some("a"), s(9), s(16)), "it was under way");
        assert!(!ledger.excuses_open(Some("a"), s(8), s(9)), "it had failed before");
        assert!(!ledger.excuses_open(Some("a"), s(16), s(22)));
        assert!(!ledger.excuses_loss(Some("a"), s(19)));
        let one_way = self::ledger(Fault::Hole(Who::Member(0), Ways::ToAgent), 10, 22);
        assert!(
            one_way.excuses_open(Some("a"), s(17), s(22)) && !one_way.excuses_open(Some("a"), s(20), s(22))
        );
    }

    #[test]
    fn a_long_outage_of_many_parts_excuses_a_session() {
        let mut ledger = ledger(Fault::Hole(Who::Member(0), Ways::Both), 10, 20);
        let number = ledger.begin(Fault::Freeze(Who::Member(0)), vec!["a".to_owned()], s(25));
        ledger.end(number, s(30));
        assert!(ledger.excuses_loss(Some("a"), s(38)));
        assert!(!ledger.excuses_loss(Some("b"), s(38)));
    }

    #[test]
    fn one_outage_of_twelve_seconds_excuses_no_session() {
        let ledger = ledger(Fault::Hole(Who::Member(0), Ways::Both), 10, 22);
        for at in 10..70 {
            assert!(!ledger.excuses_loss(Some("a"), s(at)), "at {at}");
        }
    }

    #[test]
    fn a_stop_excuses_what_was_under_way_and_nothing_that_came_later() {
        let ledger = ledger(Fault::Stop(Who::Member(0)), 10, 16);
        assert!(ledger.excuses_open(Some("a"), s(9), s(15)) && !ledger.excuses_open(Some("b"), s(9), s(15)));
        assert!(!ledger.excuses_open(Some("a"), s(11), s(12)), "it turns away what comes");
        assert!(!ledger.excuses_open(Some("a"), s(8), s(9)), "it had failed before");
    }

    #[test]
    fn a_revocation_excuses_from_the_first_time_that_it_was_asked_for() {
        let mut ledger = Ledger::default();
        ledger.asks_to_revoke("a", s(10));
        assert!(ledger.excuses_open(Some("a"), s(11), s(12)), "it may be done though nobody was told");
        ledger.asks_to_revoke("a", s(14));
        ledger.is_revoked("a", s(16));
        assert!(ledger.excuses_open(Some("a"), s(11), s(12)) && !ledger.excuses_open(Some("a"), s(8), s(9)));
        assert!(
            !ledger.excuses_open(Some("a"), s(17), s(18)) && !ledger.excuses_open(Some("b"), s(11), s(12))
        );
        assert!(ledger.excuses_loss(Some("a"), s(25)) && !ledger.excuses_loss(Some("a"), s(27)));
        assert!(!ledger.excuses_loss(Some("a"), s(9)));
    }

    #[test]
    fn a_gateway_excuses_everything_until_its_members_are_back() {
        let ledger = ledger(Fault::KillGateway, 10, 12);
        assert!(ledger.excuses_open(None, s(20), s(21)) && !ledger.excuses_open(None, s(23), s(24)));
        assert!(ledger.excuses_loss(Some("b"), s(10)));
        assert!(!ledger.excuses_loss(Some("b"), s(30)));
    }
}
