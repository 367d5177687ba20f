use proptest::prelude::*;

use super::*;
use crate::state::{Intent, Verdict};

fn agent(number: u64) -> AgentId {
    AgentId::from_random(number)
}

fn candidate(number: u64) -> Candidate {
    Candidate {
        agent: agent(number),
        tunnels: Tunnels::Serving,
        intent: Intent::Enabled,
        revision: 1,
        verdict: Verdict::Up,
        weight: 100,
        tier: 0,
        exhausted: false,
        in_flight: 0,
        member: true,
    }
}

/// A group of which everybody arrived at once.
struct Bench {
    balancer: Balancer,
    now: Instant,
    db: Name,
    random: u64,
    caller: u64,
}

impl Bench {
    fn of(members: u64) -> Self {
        let (mut balancer, now) = (Balancer::default(), Instant::now());
        (1..=members).for_each(|number| balancer.arrived(agent(number), now));
        Self { balancer, now, db: "db".parse().unwrap(), random: 0, caller: 0 }
    }

    fn order(&mut self, policy: Policy, candidates: &[Candidate], tried: &[AgentId]) -> Plan {
        self.random += 1;
        let wanted = Wanted { resource: &self.db, policy, revision: 1, tried, caller: self.caller };
        self.balancer.order(wanted, candidates, self.random, self.now)
    }

    fn fail(&mut self, number: u64, times: u32) {
        for _ in 0..times {
            self.balancer.observe(agent(number), Opened::Failed, self.now);
        }
    }

    fn miss(&mut self, number: u64, times: u32) {
        for _ in 0..times {
            self.balancer.observe_path(agent(number), &self.db, 1, Reach::Missed, self.now);
        }
    }

    /// A member loses its tunnels, and has one again at once.
    fn flap(&mut self, number: u64) {
        self.balancer.left(agent(number), self.now);
        self.balancer.arrived(agent(number), self.now);
    }

    /// How often each candidate came first in `rounds` opens that end at once and take a millisecond.
    fn spread(&mut self, policy: Policy, candidates: &[Candidate], rounds: u32) -> Vec<u32> {
        let mut counts = vec![0; candidates.len()];
        for _ in 0..rounds {
            self.caller += 1;
            let first = self.order(policy, candidates, &[]).choices[0];
            self.balancer.observe(first, Opened::Ok(Duration::from_millis(1)), self.now);
            self.now += Duration::from_millis(1);
            counts[candidates.iter().position(|candidate| candidate.agent == first).unwrap()] += 1;
        }
        counts
    }
}

fn excluded(plan: &Plan, number: u64) -> Option<Exclusion> {
    plan.records.iter().find(|record| record.member == agent(number))?.excluded
}

#[test]
fn each_rule_excludes_and_says_why() {
    let all = [
        (Candidate { tunnels: Tunnels::None, ..candidate(2) }, Exclusion::NoTunnel),
        (Candidate { tunnels: Tunnels::Suspect, ..candidate(2) }, Exclusion::Suspect),
        (Candidate { tunnels: Tunnels::Draining, ..candidate(2) }, Exclusion::Draining),
        (Candidate { intent: Intent::Draining, ..candidate(2) }, Exclusion::Draining),
        (Candidate { intent: Intent::Disabled, ..candidate(2) }, Exclusion::Disabled),
        (Candidate { revision: 0, ..candidate(2) }, Exclusion::Behind),
        (Candidate { verdict: Verdict::Down, ..candidate(2) }, Exclusion::Down),
        (Candidate { member: false, ..candidate(2) }, Exclusion::NotMember),
        (Candidate { exhausted: true, ..candidate(2) }, Exclusion::Exhausted),
        (Candidate { tier: 1, ..candidate(2) }, Exclusion::Standby),
    ];
    for (other, reason) in all {
        let plan = Bench::of(2).order(Policy::P2c, &[candidate(1), other], &[]);
        assert_eq!((plan.choices.as_slice(), plan.rule), (&[agent(1)][..], Rule::Only), "{reason:?}");
        assert_eq!(excluded(&plan, 2), Some(reason));
    }
}

#[test]
fn panic_mode_tries_all_that_people_did_not_take_out() {
    let mut bench = Bench::of(5);
    let candidates = [
        Candidate { verdict: Verdict::Down, ..candidate(1) },
        Candidate { revision: 0, ..candidate(2) },
        Candidate { intent: Intent::Draining, ..candidate(3) },
        Candidate { tunnels: Tunnels::None, ..candidate(4) },
        Candidate { member: false, ..candidate(5) },
    ];
    let plan = bench.order(Policy::P2c, &candidates, &[]);
    let mut choices = plan.choices.clone();
    choices.sort();
    assert_eq!((choices, plan.rule), (vec![agent(1), agent(2)], Rule::Panic));
    let plan = bench.order(Policy::P2c, &candidates[2..], &[]);
    assert_eq!((plan.choices, plan.rule), (vec![], Rule::Nobody));
}

#[test]
fn idle_members_share_alike_and_by_weight() {
    for policy in Policy::ALL {
        let equal: Vec<_> = (1..=3).map(candidate).collect();
        let counts = Bench::of(3).spread(policy, &equal, 3_000);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{policy} {counts:?}");
    }
    for policy in [Policy::P2c, Policy::RoundRobin] {
        let weighted = [Candidate { weight: 300, ..candidate(1) }, candidate(2)];
        let counts = Bench::of(2).spread(policy, &weighted, 4_000);
        assert!((2_700..3_300).contains(&counts[0]), "{policy} {counts:?}");
    }
}

#[test]
fn the_busier_and_the_slower_are_avoided() {
    let busy = [Candidate { in_flight: 20, ..candidate(1) }, Candidate { in_flight: 5, ..candidate(2) }];
    assert_eq!(Bench::of(2).spread(Policy::P2c, &busy, 100), [0, 100]);
    assert_eq!(Bench::of(2).spread(Policy::LeastSessions, &busy, 100), [0, 100]);
    let mut bench = Bench::of(2);
    bench.balancer.observe(agent(1), Opened::Ok(Duration::from_millis(900)), bench.now);
    assert_eq!(bench.spread(Policy::P2c, &[candidate(1), candidate(2)], 100), [0, 100]);
    bench.now += DECAY * 8;
    let counts = bench.spread(Policy::P2c, &[candidate(1), candidate(2)], 100);
    assert!(counts[0] > 20, "it is tried again: {counts:?}");
}

#[test]
fn one_slow_open_sends_no_crowd_elsewhere_and_two_do() {
    // Of 300 in the end: less than 15 % off their mean, or nearly all new ones with the other.
    for (slow, uneven) in [(1, 0..45), (2, 80..101)] {
        let mut bench = Bench::of(2);
        bench.spread(Policy::P2c, &[candidate(1), candidate(2)], 100);
        for _ in 0..slow {
            bench.balancer.observe(agent(1), Opened::Ok(Duration::from_millis(40)), bench.now);
        }
        // These stay.
        let mut candidates = [1, 2].map(|number| Candidate { in_flight: 100, ..candidate(number) });
        for _ in 0..100 {
            let counts = bench.spread(Policy::P2c, &candidates, 1);
            (0..2).for_each(|index| candidates[index].in_flight += counts[index]);
        }
        let off = candidates[1].in_flight.abs_diff(candidates[0].in_flight);
        assert!(uneven.contains(&off), "after {slow} slow: {candidates:?}");
    }
}

#[test]
fn failing_fast_attracts_nothing() {
    let mut bench = Bench::of(2);
    bench.fail(1, 1);
    assert_eq!(bench.spread(Policy::P2c, &[candidate(1), candidate(2)], 200), [0, 200]);
}

#[test]
fn ejection_lasts_longer_each_time_and_spares_half_of_the_group() {
    let mut bench = Bench::of(3);
    bench.fail(1, FAILURES_MAX - 1);
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), None);
    bench.fail(1, 1);
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), Some(bench.now + EJECTION));
    bench.fail(2, 20);
    assert_eq!(bench.balancer.ejected_until(agent(2), bench.now), None, "one of three is out already");
    let plan = bench.order(Policy::RoundRobin, &[candidate(1), candidate(2), candidate(3)], &[]);
    assert_eq!(excluded(&plan, 1), Some(Exclusion::Ejected));
    for round in 2..100 {
        bench.now = bench.balancer.ejected_until(agent(1), bench.now).unwrap();
        assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), None);
        bench.fail(1, 1);
        let longer = (EJECTION * round).min(EJECTION_MAX);
        assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), Some(bench.now + longer));
    }
    let mut alone = Bench::of(1);
    alone.fail(1, 50);
    assert_eq!(alone.balancer.ejected_until(agent(1), alone.now), None);
}

#[test]
fn after_an_ejection_one_session_tries_the_member_out() {
    let members = [candidate(1), candidate(2), candidate(3)];
    let mut bench = Bench::of(3);
    bench.fail(1, FAILURES_MAX);
    bench.now += EJECTION;
    let on_trial = |bench: &mut Bench| {
        let plans = (0..500).map(|_| bench.order(Policy::P2c, &members, &[])).collect::<Vec<_>>();
        plans.iter().filter(|plan| plan.choices[0] == agent(1)).count()
    };
    assert_eq!(on_trial(&mut bench), 1, "while it is tried out, it gets no other");
    bench.fail(1, 1);
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), Some(bench.now + EJECTION * 2));
    bench.now += EJECTION * 2;
    assert_eq!(on_trial(&mut bench), 1);
    bench.now += Duration::from_secs(15);
    assert_eq!(on_trial(&mut bench), 1, "a trial of which nothing was heard does not keep it out for ever");
    bench.balancer.observe(agent(1), Opened::Ok(Duration::from_millis(1)), bench.now);
    let counts = bench.spread(Policy::RoundRobin, &members, 210);
    assert!((5..20).contains(&counts[0]), "it starts slowly: {counts:?}");
    bench.fail(1, 1);
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), None, "trusted as any other");
}

#[test]
fn a_caller_that_sticks_tries_its_own_member_out() {
    let members = [candidate(1), candidate(2), candidate(3)];
    let mut bench = Bench::of(3);
    bench.caller = 7;
    let own = bench.order(Policy::Sticky, &members, &[]).choices[0];
    let own = (1..=3).find(|number| agent(*number) == own).unwrap();
    bench.fail(own, FAILURES_MAX);
    assert_ne!(bench.order(Policy::Sticky, &members, &[]).choices[0], agent(own));
    bench.now += EJECTION;
    let first = |bench: &mut Bench| bench.order(Policy::Sticky, &members, &[]).choices[0];
    assert_eq!(first(&mut bench), agent(own), "nobody else would ever do it");
    assert_ne!(first(&mut bench), agent(own), "once");
    bench.balancer.observe(agent(own), Opened::Ok(Duration::from_millis(1)), bench.now);
    bench.now += SLOW_START;
    assert_eq!(first(&mut bench), agent(own));
}

#[test]
fn a_way_on_which_only_this_member_fails_is_closed_for_that_resource() {
    let members = [candidate(1), candidate(2)];
    let mut bench = Bench::of(2);
    bench.miss(1, MISSES_MAX - 1);
    bench.balancer.observe_path(agent(1), &bench.db.clone(), 1, Reach::Reached, bench.now);
    bench.miss(1, MISSES_MAX - 1);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), None, "not in a row");
    bench.miss(1, 1);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), Some(Exclusion::Unreachable));
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), None, "other resources keep it");
    let other: Name = "web".parse().unwrap();
    let wanted = Wanted { resource: &other, policy: Policy::P2c, revision: 1, tried: &[], caller: 0 };
    assert_eq!(bench.balancer.order(wanted, &members, 1, bench.now).choices.len(), 2);
    let newer = Wanted { resource: &bench.db, revision: 2, ..wanted };
    let newer_members = members.clone().map(|member| Candidate { revision: 2, ..member });
    let plan = bench.balancer.order(newer, &newer_members, 1, bench.now);
    assert_eq!(plan.choices.len(), 2, "what was seen of the old target does not hold for the new one");
    let plan = bench.order(Policy::P2c, &members, &[agent(2)]);
    assert_eq!((plan.choices.as_slice(), plan.rule), (&[agent(1)][..], Rule::Panic), "better than nobody");
    bench.now += EJECTION;
    let tried = (0..200).filter(|_| bench.order(Policy::RoundRobin, &members, &[]).choices[0] == agent(1));
    assert_eq!(tried.count(), 1, "one session tries it out");
    bench.balancer.observe_path(agent(1), &bench.db.clone(), 1, Reach::Reached, bench.now);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), None);
}

#[test]
fn a_later_tier_is_for_when_nobody_of_the_first_is_left() {
    let standby = Candidate { tier: 1, ..candidate(3) };
    let mut bench = Bench::of(3);
    let all = [candidate(1), candidate(2), standby.clone()];
    assert_eq!(bench.spread(Policy::P2c, &all, 100)[2], 0);
    let plan = bench.order(Policy::P2c, &all, &[agent(1), agent(2)]);
    assert_eq!(plan.choices, [agent(3)], "a retry may go there");
    let down = |number| Candidate { verdict: Verdict::Down, ..candidate(number) };
    let plan = bench.order(Policy::P2c, &[down(1), down(2), standby], &[]);
    assert_eq!((plan.choices.as_slice(), plan.rule), (&[agent(3)][..], Rule::Only));
}

#[test]
fn a_member_that_comes_and_goes_is_held_back() {
    let members = [candidate(1), candidate(2)];
    let mut bench = Bench::of(2);
    for _ in 0..2 {
        bench.flap(1);
        bench.now += Duration::from_secs(2);
        assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), None);
    }
    bench.flap(1);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), Some(Exclusion::Unsteady));
    (0..5).for_each(|_| bench.flap(2));
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 2), None, "half of the group stays");
    bench.now += Duration::from_secs(61);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), None);
    bench.now += SLOW_START;
    bench.flap(1);
    assert_eq!(excluded(&bench.order(Policy::P2c, &members, &[]), 1), None, "and is forgiven");
}

#[test]
fn callers_stay_where_they_are() {
    let members: Vec<_> = (1..=4).map(candidate).collect();
    let mut bench = Bench::of(4);
    let mut homes = |members: &[Candidate]| {
        let home = |caller: u32| {
            bench.caller = caller_key(&caller.to_be_bytes());
            bench.order(Policy::Sticky, members, &[]).choices[0]
        };
        (0..1_000).map(home).collect::<Vec<_>>()
    };
    let before = homes(&members);
    assert_eq!(before, homes(&members));
    let without = homes(&members[..3]);
    let moved = before.iter().zip(&without).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(before, _)| *before == agent(4)), "only the callers of the one that went");
    assert!((200..300).contains(&moved.count()));
    let heavy: Vec<_> = members.iter().map(|m| Candidate { in_flight: 40, ..m.clone() }).collect();
    assert_eq!(before, homes(&heavy), "an even load moves nobody");
    let mut busy = heavy;
    busy[0].in_flight = 60;
    let spread = homes(&busy);
    assert!(!spread.contains(&agent(1)), "a quarter more than its share is enough");
    assert!(spread.iter().zip(&before).all(|(after, before)| after == before || *before == agent(1)));
    let few = [Candidate { in_flight: 15, ..candidate(1) }, candidate(2), candidate(3), candidate(4)];
    assert_eq!(before, homes(&few), "a few sessions burden nobody");
}

#[test]
fn whoever_returns_to_a_warm_group_starts_slowly() {
    let members = [candidate(1), candidate(2)];
    let mut cold = Bench::of(2);
    let counts = cold.spread(Policy::RoundRobin, &members, 100);
    assert_eq!(counts, [50, 50], "a group that comes together starts together");
    let mut bench = Bench::of(2);
    bench.now += SLOW_START;
    bench.balancer.left(agent(2), bench.now);
    bench.balancer.arrived(agent(2), bench.now);
    let counts = bench.spread(Policy::RoundRobin, &members, 220);
    assert!((15..30).contains(&counts[1]), "about a tenth: {counts:?}");
    bench.now += SLOW_START;
    let counts = bench.spread(Policy::RoundRobin, &members, 100);
    assert!((45..55).contains(&counts[1]), "{counts:?}");
}

#[test]
fn retries_are_a_fifth_and_at_least_ten_a_second() {
    let start = Instant::now();
    let mut budget = RetryBudget::new(start);
    assert_eq!((0..500).filter(|_| budget.take(start)).count(), 100);
    assert_eq!((0..500).filter(|_| budget.take(start + Duration::from_secs(2))).count(), 20);
    (0..1_000).for_each(|_| budget.first_try());
    assert_eq!((0..500).filter(|_| budget.take(start + Duration::from_secs(2))).count(), 200);
}

fn any_candidate(number: u64) -> impl Strategy<Value = Candidate> {
    let tunnels = prop_oneof![
        4 => Just(Tunnels::Serving),
        1 => Just(Tunnels::Suspect),
        1 => Just(Tunnels::Draining),
        1 => Just(Tunnels::None),
    ];
    let intent =
        prop_oneof![3 => Just(Intent::Enabled), 1 => Just(Intent::Draining), 1 => Just(Intent::Disabled)];
    let verdict = prop_oneof![3 => Just(Verdict::Up), 1 => Just(Verdict::Suspect), 1 => Just(Verdict::Down)];
    let rest = (0..3_u64, 1..=1_000_u16, 0..50_u32, any::<bool>(), 0..3_u8, any::<bool>());
    (tunnels, intent, verdict, rest).prop_map(
        move |(tunnels, intent, verdict, (revision, weight, in_flight, member, tier, exhausted))| Candidate {
            tunnels,
            intent,
            verdict,
            revision,
            weight,
            in_flight,
            member,
            tier,
            exhausted,
            ..candidate(number)
        },
    )
}

fn any_group() -> impl Strategy<Value = Vec<Candidate>> {
    (0..7_u64).prop_flat_map(|count| (1..=count).map(any_candidate).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn an_excluded_member_is_never_chosen_while_another_exists(
        candidates in any_group(),
        failures in proptest::collection::vec(1..7_u64, 0..40),
        policy in proptest::sample::select(Policy::ALL.to_vec()),
        random: u64,
    ) {
        let mut bench = Bench::of(candidates.len() as u64);
        bench.random = random >> 1;
        failures.into_iter().for_each(|number| bench.fail(number, 1));
        let plan = bench.order(policy, &candidates, &[]);
        let mut chosen = plan.choices.clone();
        chosen.sort();
        chosen.dedup();
        prop_assert_eq!(chosen.len(), plan.choices.len(), "nobody twice");
        let fit = plan.records.iter().filter(|record| record.excluded.is_none()).count();
        for record in &plan.records {
            let is_chosen = plan.choices.contains(&record.member);
            if fit > 0 {
                prop_assert_eq!(is_chosen, record.excluded.is_none());
            } else if let Some(exclusion) = record.excluded {
                prop_assert_eq!(is_chosen, exclusion.yields());
            }
        }
        for candidate in &candidates {
            let out = candidate.intent != Intent::Enabled || candidate.tunnels == Tunnels::None || !candidate.member;
            prop_assert!(!(out && plan.choices.contains(&candidate.agent)), "people's word holds in panic too");
        }
    }
}
