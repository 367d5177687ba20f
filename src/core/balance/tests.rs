use proptest::prelude::*;

use super::*;

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
}

impl Bench {
    fn of(members: u64) -> Self {
        let (mut balancer, now) = (Balancer::default(), Instant::now());
        (1..=members).for_each(|number| balancer.arrived(agent(number), now));
        Self { balancer, now, db: "db".parse().unwrap(), random: 0 }
    }

    fn order(&mut self, policy: Policy, candidates: &[Candidate], tried: &[AgentId]) -> Plan {
        self.random += 1;
        let wanted = Wanted { resource: &self.db, policy, revision: 1, tried };
        self.balancer.order(wanted, candidates, self.random, self.now)
    }

    fn fail(&mut self, number: u64, times: u32) {
        for _ in 0..times {
            self.balancer.observe(agent(number), Opened::Failed, self.now);
        }
    }

    /// How often each candidate came first in `rounds` opens that end at once and take a millisecond.
    fn spread(&mut self, policy: Policy, candidates: &[Candidate], rounds: u32) -> Vec<u32> {
        let mut counts = vec![0; candidates.len()];
        for _ in 0..rounds {
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
    bench.now += EJECTION;
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), None);
    bench.fail(1, FAILURES_MAX);
    assert_eq!(bench.balancer.ejected_until(agent(1), bench.now), Some(bench.now + EJECTION * 2));
    for _ in 0..100 {
        bench.now += EJECTION_MAX;
        bench.fail(1, FAILURES_MAX);
    }
    assert!(bench.balancer.ejected_until(agent(1), bench.now).unwrap() <= bench.now + EJECTION_MAX);
    let mut alone = Bench::of(1);
    alone.fail(1, 50);
    assert_eq!(alone.balancer.ejected_until(agent(1), alone.now), None);
}

#[test]
fn whoever_returns_to_a_warm_group_starts_slowly() {
    let members = [candidate(1), candidate(2)];
    let mut cold = Bench::of(2);
    let counts = cold.spread(Policy::RoundRobin, &members, 100);
    assert_eq!(counts, [50, 50], "a group that comes together starts together");
    let mut bench = Bench::of(2);
    bench.now += SLOW_START;
    bench.balancer.left(agent(2));
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
    (tunnels, intent, verdict, 0..3_u64, 1..=1_000_u16, 0..50_u32, any::<bool>()).prop_map(
        move |(tunnels, intent, verdict, revision, weight, in_flight, member)| Candidate {
            tunnels,
            intent,
            verdict,
            revision,
            weight,
            in_flight,
            member,
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
        policy in prop_oneof![Just(Policy::P2c), Just(Policy::RoundRobin), Just(Policy::LeastSessions)],
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
